"""The prompts that the reference's template would render of conversations that an engine changed first.

An engine whose prompt equals one of them made that change: it is the evidence of ``rules_conversation``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

from jinja2 import TemplateError

from vlm_parity.schema.prompt_change import SEPARATOR, PromptChange

Messages = list[dict[str, Any]]
REASONING_FIELDS = ("reasoning", "reasoning_content")
_REFUSALS = (
    *(TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError),
    RecursionError,
)
"""Errors of a template about a conversation that it cannot render."""


@dataclass(frozen=True)
class Conversation:
    """Messages in transformers' form, and the arguments of the template."""

    messages: Messages
    arguments: Mapping[str, Any]
    """Names of ``Case.template_arguments``."""

    @property
    def template_options(self) -> dict[str, Any]:
        """The keyword arguments of ``apply_chat_template``, variables of the template included."""
        options = {"add_generation_prompt": True, **self.arguments}
        further = options.pop("chat_template_kwargs", {})
        return {**options, **further}


Change = Callable[[Conversation], Iterator[Conversation]]
"""Yields the conversations that a change can make of one; none if it has nothing to change."""


def render_changes(
    conversation: Conversation, render: Callable[[Conversation], str], other_template: str | None = None
) -> dict[str, str]:
    """Render what one or two changes make of a conversation.

    Args:
        conversation: as the reference renders it.
        render: renders a conversation.
        other_template: the template of the tokenizer, if it is not the processor's.

    Returns:
        Each prompt that differs from the reference's, under the names of the changes, the fewest first.
    """
    known = {_render(render, conversation)}
    prompts: dict[str, str] = {}
    changes = dict(CHANGES)
    if other_template is not None:
        changes[PromptChange.OTHER_TEMPLATE] = lambda base: iter([_set(base, chat_template=other_template)])
    applicable = [name for name, change in changes.items() if any(True for _ in change(conversation))]
    for names in (*((name,) for name in applicable), *combinations(applicable, 2)):
        for number, changed in enumerate(_apply([changes[name] for name in names], conversation)):
            prompt = _render(render, changed)
            if prompt is not None and prompt not in known:
                known.add(prompt)
                prompts[SEPARATOR.join(names) + (f" ({number + 1})" if number else "")] = prompt
    return prompts


def _apply(changes: Sequence[Change], conversation: Conversation) -> Iterator[Conversation]:
    if not changes:
        yield conversation
        return
    for changed in changes[0](conversation):
        yield from _apply(changes[1:], changed)


def _render(render: Callable[[Conversation], str], conversation: Conversation) -> str | None:
    """Return the prompt, or None if the template refuses the conversation: then no engine rendered it."""
    try:
        return render(Conversation(deepcopy(conversation.messages), conversation.arguments))
    except _REFUSALS:
        return None


def _set(base: Conversation, **arguments: Any) -> Conversation:
    return Conversation(base.messages, {**base.arguments, **arguments})


def _without(name: str) -> Change:
    def change(base: Conversation) -> Iterator[Conversation]:
        if name in base.arguments:
            yield Conversation(
                base.messages, {key: value for key, value in base.arguments.items() if key != name}
            )

    return change


def _drop_variable(base: Conversation) -> Iterator[Conversation]:
    variables = base.arguments.get("chat_template_kwargs", {})
    for dropped in variables:
        yield _set(base, chat_template_kwargs={key: variables[key] for key in variables if key != dropped})
    if len(variables) > 1:
        yield _set(base, chat_template_kwargs={})


def _each(edit: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Change:
    """Return the change that edits every message for which ``edit`` returns another one."""

    def change(base: Conversation) -> Iterator[Conversation]:
        edited = [edit(message) for message in base.messages]
        if any(message is not None for message in edited):
            yield Conversation(
                [new or old for new, old in zip(edited, base.messages, strict=True)], base.arguments
            )

    return change


def _drop(*names: str) -> Change:
    def edit(message: dict[str, Any]) -> dict[str, Any] | None:
        kept = {name: value for name, value in message.items() if name not in names}
        return kept if len(kept) < len(message) else None

    return _each(edit)


def _convert_arguments(wanted: type, convert: Callable[[Any], Any]) -> Change:
    def edit(message: dict[str, Any]) -> dict[str, Any] | None:
        calls = message.get("tool_calls") or []
        if not any(isinstance(call["function"]["arguments"], wanted) for call in calls):
            return None
        converted = deepcopy(calls)
        for call in converted:
            if isinstance(call["function"]["arguments"], wanted):
                call["function"]["arguments"] = convert(call["function"]["arguments"])
        return {**message, "tool_calls": converted}

    return _each(edit)


def _write_arguments(base: Conversation) -> Iterator[Conversation]:
    """Write arguments as JSON in the ways that Python code usually does."""
    forms: tuple[dict[str, Any], ...] = ({}, {"ensure_ascii": False}, {"separators": (",", ":")})
    for options in forms:
        yield from _convert_arguments(dict, partial(json.dumps, **options))(base)


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _rename_reasoning(message: dict[str, Any]) -> dict[str, Any] | None:
    written = [name for name in REASONING_FIELDS if name in message]
    if len(written) != 1:
        return None
    return {**message, **dict.fromkeys(REASONING_FIELDS, message[written[0]])}


def _tag_reasoning(base: Conversation) -> Iterator[Conversation]:
    for form in ("<think>\n{}\n</think>\n\n{}", "<think>{}</think>{}", "<think>\n{}\n</think>\n{}"):

        def edit(message: dict[str, Any], form: str = form) -> dict[str, Any] | None:
            written = [name for name in REASONING_FIELDS if message.get(name)]
            content = message.get("content") or ""
            if not written or not isinstance(content, str):
                return None
            kept = {name: value for name, value in message.items() if name not in REASONING_FIELDS}
            return {**kept, "content": form.format(message[written[0]], content)}

        yield from _each(edit)(base)


def _replace_role(role: str) -> Change:
    return _each(lambda message: {**message, "role": role} if message["role"] == "developer" else None)


def _fill_content(value: str | None) -> Change:
    """Return the change that gives a message without content, or with null, this content."""
    return _each(
        lambda message: (
            {**message, "content": value}
            if message.get("content") is None and message.get("content", ...) != value
            else None
        )
    )


def _wrap(message: dict[str, Any]) -> dict[str, Any] | None:
    content = message.get("content")
    return {**message, "content": [{"type": "text", "text": content}]} if isinstance(content, str) else None


def _unwrap(message: dict[str, Any]) -> dict[str, Any] | None:
    content = message.get("content")
    if not isinstance(content, list) or len(content) != 1 or content[0]["type"] != "text":
        return None
    return {**message, "content": content[0]["text"]}


CHANGES: Mapping[PromptChange, Change] = {
    PromptChange.TOOLS_DROPPED: _without("tools"),
    PromptChange.DOCUMENTS_DROPPED: _without("documents"),
    PromptChange.TEMPLATE_DROPPED: _without("chat_template"),
    PromptChange.VARIABLE_DROPPED: _drop_variable,
    PromptChange.CALLS_DROPPED: _drop("tool_calls"),
    PromptChange.CALLS_AS_TEXT: _write_arguments,
    PromptChange.CALLS_PARSED: _convert_arguments(str, _parse),
    PromptChange.TOOL_NAME_DROPPED: _drop("name"),
    PromptChange.REASONING_DROPPED: _drop(*REASONING_FIELDS),
    PromptChange.REASONING_RENAMED: _each(_rename_reasoning),
    PromptChange.REASONING_IN_TEXT: _tag_reasoning,
    PromptChange.DEVELOPER_AS_SYSTEM: _replace_role("system"),
    PromptChange.DEVELOPER_AS_USER: _replace_role("user"),
    PromptChange.EMPTY_CONTENT: _fill_content(""),
    PromptChange.CONTENT_NULL: _fill_content(None),
    PromptChange.TEXT_AS_PART: _each(_wrap),
    PromptChange.PART_AS_TEXT: _each(_unwrap),
}
"""Changes that can be made without another template."""
