"""The arguments of the chat template that a case sets, in the form in which an engine's API takes them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from vlm_parity.backends.base import Request
from vlm_parity.schema.case import Case
from vlm_parity.util.errors import UnsupportedError


def select_template_arguments(case: Case, supported: Collection[str], api: str) -> dict[str, Any]:
    """Return the template arguments of a case, all of which an API has to take.

    Args:
        case: the conversation.
        supported: names of ``TEMPLATE_ARGUMENTS``.
        api: name of the API in messages.

    Raises:
        UnsupportedError: the API has no parameter for one of them.
    """
    arguments = case.template_arguments
    missing = [name for name in arguments if name not in supported]
    if missing:
        raise UnsupportedError(f"{api} has no parameter {' or '.join(missing)}")
    return arguments


def list_batch(request: Request) -> tuple[Request, ...]:
    """Return a request and those of ``batch_with`` that may go into one call of a chat API.

    A call has one set of template arguments: with those of another request, a conversation may not render.
    """
    arguments = request.case.template_arguments
    alike = (member for member in request.batch_with if member.case.template_arguments == arguments)
    return (request, *alike)


def move_documents(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return template arguments with the documents among the further variables of the template."""
    if "documents" not in arguments:
        return arguments
    further = {"documents": arguments["documents"], **arguments.get("chat_template_kwargs", {})}
    return {name: value for name, value in arguments.items() if name != "documents"} | {
        "chat_template_kwargs": further
    }
