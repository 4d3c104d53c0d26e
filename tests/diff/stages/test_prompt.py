"""The rendered text: the first character that differs, with what stands around it."""

from __future__ import annotations

from textwrap import dedent

from hypothesis import given
from hypothesis import strategies as st

from tests.support.traces import PROMPT, make_pair, make_trace
from vlm_parity.diff.stages import prompt
from vlm_parity.schema.verdict import DiffStatus, StageDiff, TextEvidence

texts = st.text("ab\n", max_size=200)


def diff(reference: str, tested: str) -> StageDiff:
    return prompt.diff_prompt(
        make_pair(make_trace("transformers", prompt=reference), make_trace(prompt=tested))
    )


def test_a_line_break_as_a_user_sees_it() -> None:
    assert diff(PROMPT, PROMPT.replace("What", "\nWhat")).message == dedent("""\
        prompts differ at character 19
             side  context
        reference  '<user>Look: <image>What is it?<assistant>'
             vllm  '<user>Look: <image>\\nWhat is it?<assistant>'""")


@given(texts, texts)
def test_only_equal_texts_match(reference: str, tested: str) -> None:
    assert (diff(reference, tested).status is DiffStatus.MATCH) == (reference == tested)


@given(texts, texts)
def test_the_evidence_is_a_short_piece_of_each_text(reference: str, tested: str) -> None:
    evidence = diff(reference, tested).evidence
    if isinstance(evidence, TextEvidence):
        assert reference[: evidence.index] == tested[: evidence.index]
        assert evidence.reference in reference
        assert evidence.tested in tested
        assert max(len(evidence.reference), len(evidence.tested)) <= 96


def test_a_text_that_ends_early_differs_at_its_end() -> None:
    found = diff(PROMPT, PROMPT[:-1])
    assert found.message.startswith(f"prompts differ at character {len(PROMPT) - 1}\n")
    assert found.metrics == {"reference_length": len(PROMPT), "tested_length": len(PROMPT) - 1}
