"""Explanations of prompts that are those of a changed conversation."""

from __future__ import annotations

import pytest

from tests.support.findings import explain_traces, format_turn, list_found_causes, render_text
from vlm_parity.schema.prompt_change import SEPARATOR, PromptChange

TEXT, CHANGED = format_turn("Look closer."), format_turn("Look closer, and use no tool.")


@pytest.mark.parametrize("change", PromptChange)
def test_each_change_is_named_by_the_prompt_that_it_gives(change: PromptChange) -> None:
    reference = render_text(TEXT, prompt=TEXT, changed_prompts={change: CHANGED})
    first, *_ = explain_traces(reference, render_text(CHANGED, prompt=CHANGED))
    assert (first.cause, first.confidence) == (change, 0.99)
    assert "character by character" in first.explanation


def test_two_changes_and_a_numbered_form_are_named_both() -> None:
    name = f"{SEPARATOR.join((PromptChange.CALLS_AS_TEXT, PromptChange.TOOLS_DROPPED))} (2)"
    reference = render_text(TEXT, prompt=TEXT, changed_prompts={name: CHANGED})
    causes = list_found_causes(reference, render_text(CHANGED, prompt=CHANGED))
    assert set(causes[:2]) == {PromptChange.CALLS_AS_TEXT, PromptChange.TOOLS_DROPPED}


def test_a_prompt_that_no_change_gives_is_not_explained_by_one() -> None:
    reference = render_text(TEXT, prompt=TEXT, changed_prompts={PromptChange.TOOLS_DROPPED: CHANGED + " "})
    causes = list_found_causes(reference, render_text(CHANGED, prompt=CHANGED))
    assert not set(causes) & {str(change) for change in PromptChange}
