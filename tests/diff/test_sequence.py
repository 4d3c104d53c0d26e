"""Sequences of ids: what a user gets to see is the difference, not the hundreds of equal ids around it."""

from __future__ import annotations

from textwrap import dedent

import pytest

from tests.support.traces import CONTINUATION, make_pair, make_trace
from vlm_parity.diff.sequence import diff_sequences
from vlm_parity.diff.stages import greedy, input_ids
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus, SequenceEvidence, StageDiff

IMAGE_PAD, PAD, VISION_START, VISION_END = 151655, 151643, 151652, 151653
VOCABULARY = {
    IMAGE_PAD: "<|image_pad|>",
    PAD: "<|endoftext|>",
    VISION_START: "<|vision_start|>",
    VISION_END: "<|vision_end|>",
    198: "\n",
    **{n: f"word{n}" for n in range(100)},
}
IMAGE_IDS = (VISION_START, *[IMAGE_PAD] * 88, VISION_END)
IDS = (*range(15), *IMAGE_IDS, *range(15, 35))


def diff(reference: tuple[int, ...], tested: tuple[int, ...], backend: str = "lmdeploy") -> StageDiff:
    sides = (make_trace(name, input_ids=ids, vocabulary=VOCABULARY) for name, ids in (
        ("transformers", reference), (backend, tested),
    ))  # fmt: skip
    return input_ids.diff_input_ids(make_pair(*sides))


def test_the_wrong_placeholder_as_a_user_sees_it() -> None:
    tested = tuple(PAD if token == IMAGE_PAD else token for token in IDS)
    assert diff(IDS, tested).message == dedent("""\
        input_ids differ: 125 in the reference, 125 in lmdeploy; first at index 16, 88 positions differ
           index  reference                    lmdeploy
           ...    (14 equal)
           14     word14 (14)                  word14 (14)
           15     <|vision_start|> (151652)    <|vision_start|> (151652)
        >  16     <|image_pad|> x 88 (151655)  <|endoftext|> x 88 (151643)
           104    <|vision_end|> (151653)      <|vision_end|> (151653)
           105    word15 (15)                  word15 (15)
           ...    (19 equal)""")


def test_a_shorter_run_and_what_moves_with_it() -> None:
    tested = (*IDS[:16], *[IMAGE_PAD] * 87, *IDS[104:], 198)
    assert diff(IDS, tested).message == dedent("""\
        input_ids differ: 125 in the reference, 125 in lmdeploy; first at index 103, 22 positions differ
           index    reference                    lmdeploy
           ...      (14 equal)
           14       word14 (14)                  word14 (14)
           15       <|vision_start|> (151652)    <|vision_start|> (151652)
        >  16       <|image_pad|> x 88 (151655)  <|image_pad|> x 87 (151655)
           104/103  <|vision_end|> (151653)      <|vision_end|> (151653)
           105/104  word15 (15)                  word15 (15)
           ...      (17 equal)
           123/122  word33 (33)                  word33 (33)
           124/123  word34 (34)                  word34 (34)
        >  124      -                            \\n (198)""")


def test_lines_of_one_difference_have_the_index_of_each_side() -> None:
    assert diff((1, 2, 3), (1, 8, 8, 9)).message.splitlines()[2:] == [
        "   0      word1 (1)  word1 (1)",
        ">  1      word2 (2)  word8 x 2 (8)",
        ">  2/3    word3 (3)  word9 (9)",
    ]


def test_an_id_that_nobody_has_a_text_for() -> None:
    found = diff((1, 2), (1, 777))
    assert "word2 (2)  (no text) (777)" in found.message


def test_metrics_count_what_one_side_has_more() -> None:
    assert diff((1, 2, 3), (1, 9)).metrics == {
        "reference_length": 3,
        "tested_length": 2,
        "different": 2,
        "first_different": 1,
    }


def test_a_match_says_nothing_but_keeps_the_alignment() -> None:
    found = diff(IDS, IDS)
    assert (found.status, found.message, found.metrics["different"]) == (DiffStatus.MATCH, "", 0)
    assert isinstance(found.evidence, SequenceEvidence)
    assert [hunk.equal for hunk in found.evidence.hunks] == [True]


def test_many_differences_are_cut_short_in_a_terminal_but_not_in_the_evidence() -> None:
    found = diff(tuple(range(100)), tuple(range(0, 200, 2)))
    lines = found.message.splitlines()
    assert len(lines) == 1 + 1 + 40 + 1
    assert lines[-1].split(maxsplit=1)[0] == "..."
    assert lines[-1].endswith("more lines")
    assert isinstance(found.evidence, SequenceEvidence)
    assert sum(len(hunk.reference) for hunk in found.evidence.hunks) == 100


@pytest.mark.parametrize("text", ["\n", "\t", "\x1b[31m", "\u200b"])
def test_invisible_texts_are_written_as_escapes(text: str) -> None:
    assert text not in make_pair(
        tested=make_trace(vocabulary={}), reference=make_trace(vocabulary={1: text})
    ).run(1, 2)


def test_the_references_text_of_an_id_comes_first() -> None:
    sides = make_trace(vocabulary={1: "a"}), make_trace(vocabulary={1: "b", 2: "c"})
    assert [make_pair(*sides).token(token) for token in (1, 2, 3)] == ["a", "c", "(no text)"]


def test_the_first_greedy_token_that_differs_is_named() -> None:
    found = greedy.diff_greedy(make_pair(tested=make_trace(greedy=(*CONTINUATION[:-1], 3))))
    assert (found.stage, found.status, found.metrics["first_different"]) == (
        Stage.GREEDY, DiffStatus.MISMATCH, 2,
    )  # fmt: skip
    assert found.message.startswith("greedy differ: 3 in the reference, 3 in vllm; first at index 2")


def test_two_empty_sequences_match() -> None:
    assert diff_sequences(Stage.GREEDY, make_pair(), (), ()).status is DiffStatus.MATCH
