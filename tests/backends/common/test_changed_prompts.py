"""Prompts of changed conversations, by a template that shows all that it gets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment

from vlm_parity.backends.common.changed_prompts import CHANGES, Conversation, render_changes
from vlm_parity.schema.prompt_change import SEPARATOR, PromptChange

CALL = {"type": "function", "function": {"name": "look", "arguments": {"at": "ä"}}}
TEXT_CALL = {"type": "function", "function": {"name": "look", "arguments": '{"at":  "ä"}'}}
USER = {"role": "user", "content": "Hi"}
OWN = "{% for message in messages %}{{ message.content }}|{% endfor %}"


def render(conversation: Conversation) -> str:
    """Render everything, as the most curious of templates would."""
    arguments = dict(conversation.arguments)
    template = arguments.pop("chat_template", "{{ everything }}")
    everything = json.dumps([conversation.messages, arguments], sort_keys=True)
    environment = Environment(autoescape=False)  # noqa: S701 -- prompts are not HTML
    return environment.from_string(template).render(messages=conversation.messages, everything=everything)


def list_changed_prompts(*messages: dict[str, Any], **arguments: Any) -> dict[str, str]:
    return render_changes(Conversation(list(messages), arguments), render)


def test_plain_turns_have_only_the_changes_of_their_form() -> None:
    assert set(list_changed_prompts(USER)) == {PromptChange.TEXT_AS_PART}


@pytest.mark.parametrize(
    ("change", "message", "arguments", "expected"),
    [
        (PromptChange.TOOLS_DROPPED, USER, {"tools": [{}]}, (USER, {})),
        (PromptChange.DOCUMENTS_DROPPED, USER, {"documents": [{}]}, (USER, {})),
        (PromptChange.TEMPLATE_DROPPED, USER, {"chat_template": OWN}, (USER, {})),
        (
            PromptChange.VARIABLE_DROPPED,
            USER,
            {"chat_template_kwargs": {"a": 1}},
            (USER, {"chat_template_kwargs": {}}),
        ),
        (PromptChange.CALLS_DROPPED, {**USER, "tool_calls": [CALL]}, {}, (USER, {})),
        (
            PromptChange.CALLS_PARSED,
            {**USER, "tool_calls": [TEXT_CALL]},
            {},
            ({**USER, "tool_calls": [CALL]}, {}),
        ),
        (PromptChange.TOOL_NAME_DROPPED, {**USER, "name": "look"}, {}, (USER, {})),
        (PromptChange.REASONING_DROPPED, {**USER, "reasoning_content": "so"}, {}, (USER, {})),
        (
            PromptChange.REASONING_RENAMED,
            {**USER, "reasoning": "so"},
            {},
            ({**USER, "reasoning": "so", "reasoning_content": "so"}, {}),
        ),
        (
            PromptChange.REASONING_IN_TEXT,
            {**USER, "reasoning": "so"},
            {},
            ({"role": "user", "content": "<think>\nso\n</think>\n\nHi"}, {}),
        ),
        (
            PromptChange.DEVELOPER_AS_SYSTEM,
            {"role": "developer", "content": []},
            {},
            ({"role": "system", "content": []}, {}),
        ),
        (
            PromptChange.DEVELOPER_AS_USER,
            {"role": "developer", "content": []},
            {},
            ({"role": "user", "content": []}, {}),
        ),
        (PromptChange.EMPTY_CONTENT, {"role": "user"}, {}, ({"role": "user", "content": ""}, {})),
        (PromptChange.CONTENT_NULL, {"role": "user"}, {}, ({"role": "user", "content": None}, {})),
        (
            PromptChange.TEXT_AS_PART,
            USER,
            {},
            ({"role": "user", "content": [{"type": "text", "text": "Hi"}]}, {}),
        ),
        (
            PromptChange.PART_AS_TEXT,
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {},
            (USER, {}),
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, PromptChange) else "",
)
def test_each_change(
    change: PromptChange,
    message: dict[str, Any],
    arguments: dict[str, Any],
    expected: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    changed, left = expected
    assert list_changed_prompts(message, **arguments)[change] == render(Conversation([changed], left))


def test_arguments_are_written_in_every_usual_way() -> None:
    prompts = list_changed_prompts({**USER, "tool_calls": [CALL]})
    forms = [prompt for name, prompt in prompts.items() if name.startswith(PromptChange.CALLS_AS_TEXT)]
    texts = ['{"at": "\\u00e4"}', '{"at": "ä"}', '{"at":"\\u00e4"}']
    calls = [{**CALL, "function": {"name": "look", "arguments": text}} for text in texts]
    expected = [render(Conversation([{**USER, "tool_calls": [call]}], {})) for call in calls]
    assert forms[:3] == expected


def test_two_changes_together_come_behind_single_ones() -> None:
    names = list(list_changed_prompts({**USER, "name": "a"}, tools=[{}]))
    both = SEPARATOR.join((PromptChange.TOOLS_DROPPED, PromptChange.TOOL_NAME_DROPPED))
    assert both in names
    assert names.index(both) > names.index(PromptChange.TOOL_NAME_DROPPED)


@pytest.mark.parametrize("error", [TypeError, IndexError, KeyError, ZeroDivisionError, RecursionError])
def test_a_conversation_that_the_template_refuses_has_no_prompt(error: type[Exception]) -> None:
    def refuse(conversation: Conversation) -> str:
        if "tools" not in conversation.arguments:
            raise error("tools are required")
        return render(conversation)

    assert PromptChange.TOOLS_DROPPED not in render_changes(Conversation([USER], {"tools": [{}]}), refuse)


def test_the_other_template_is_a_change() -> None:
    prompts = render_changes(Conversation([USER], {}), render, OWN)
    assert prompts[PromptChange.OTHER_TEMPLATE] == "Hi|"


@given(
    st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["user", "assistant", "developer", "tool"])},
            optional={
                "content": st.none() | st.text() | st.just([{"type": "text", "text": "a"}]),
                "reasoning": st.text(),
                "name": st.text(),
                "tool_calls": st.just([CALL]) | st.just([TEXT_CALL]),
            },
        ),
        min_size=1,
        max_size=4,
    )
)
def test_prompts_differ_and_leave_the_conversation_alone(messages: list[dict[str, Any]]) -> None:
    before = json.dumps(messages)
    conversation = Conversation(messages, {"tools": [{}]})
    prompts = [render(conversation), *render_changes(conversation, render).values()]
    assert len(set(prompts)) == len(prompts)
    assert json.dumps(messages) == before


def test_every_change_is_made_but_that_of_the_template() -> None:
    assert set(CHANGES) == set(PromptChange) - {PromptChange.OTHER_TEMPLATE}
