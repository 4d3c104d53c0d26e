"""Positions of the ids that both sides have, although other ids differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.traces import ARRAYS, IDS, IMAGE_INPUT, IMAGE_PAD, TraceFiles, make_pair, make_trace
from vlm_parity.diff.aligned_positions import AlignedPositions, align_positions
from vlm_parity.report.contradictions import find_contradictions
from vlm_parity.schema.trace import MediaInput, Span, Stage, Trace
from vlm_parity.schema.verdict import ALIGNED_POSITIONS, DiffStatus, StageDiff, Verdict
from vlm_parity.verdicts.conditioned import find_unjudged

Grid = tuple[int, int, int]
Prompt = tuple[int | Grid, ...]
"""Ids of text, and images by their grid: time, height, width."""


def number(prompt: Prompt) -> np.ndarray:
    """Return mrope positions, int64 [3, ids]: text goes on behind the largest position of an image."""
    columns: list[np.ndarray] = [np.zeros((3, 0), dtype=np.int64)]
    start = 0
    for item in prompt:
        column = np.indices((1, 1, 1) if isinstance(item, int) else item).reshape(3, -1) + start
        columns.append(column)
        start = int(column.max()) + 1
    return np.concatenate(columns, axis=1)


def trace_of(backend: str, prompt: Prompt) -> Trace:
    ids: list[int] = []
    spans: list[Span] = []
    media: list[MediaInput] = []
    for item in prompt:
        if isinstance(item, int):
            ids.append(item)
            continue
        count = int(np.prod(item))
        spans.append(Span.of("image", len(spans), range(len(ids), len(ids) + count)))
        media.append(MediaInput(modality="image", item=len(media), fields={"grid": item}))
        ids += [IMAGE_PAD] * count
    return make_trace(backend, input_ids=tuple(ids), spans=tuple(spans), media=tuple(media))


def align(reference: Prompt, tested: Prompt, positions: np.ndarray | None = None) -> AlignedPositions | None:
    pair = make_pair(trace_of("transformers", reference), trace_of("vllm", tested))
    return align_positions(pair, number(reference), number(tested) if positions is None else positions)


def assert_agrees(aligned: AlignedPositions | None) -> AlignedPositions:
    assert aligned is not None
    np.testing.assert_array_equal(aligned.reference, aligned.tested)
    return aligned


VIDEO = MediaInput(modality="video", item=0, fields={})
IMAGE: Grid = (1, 2, 3)
OTHER: Grid = (1, 3, 3)


@pytest.mark.parametrize(
    ("reference", "tested", "index", "shift"),
    [
        ((1, 2, 3, 4), (1, 2, 8, 3, 4), [0, 1, 2, 3], [0, 0, 1, 1]),
        ((1, 2, 3, 4), (2, 3, 4), [1, 2, 3], [-1, -1, -1]),
        ((1, 2, 3), (1, 8, 3), [0, 2], [0, 0]),
        ((1, IMAGE, 2), (1, 8, 9, IMAGE, 2), [*range(8)], [0, *[2] * 7]),
        ((1, IMAGE, 2), (1, IMAGE, 8, 2), [*range(8)], [*[0] * 7, 1]),
    ],
    ids=["inserted", "first one missing", "replaced", "in front of an image", "behind an image"],
)
def test_text_shifts_what_is_behind_it_by_its_length(
    reference: Prompt, tested: Prompt, index: list[int], shift: list[int]
) -> None:
    aligned = assert_agrees(align(reference, tested))
    assert aligned.index.tolist() == index
    assert aligned.shift[0].tolist() == shift
    assert not aligned.unexplained


def test_a_medium_of_another_size_leaves_the_shift_behind_it_open() -> None:
    aligned = assert_agrees(align((1, IMAGE, 2, 3), (1, OTHER, 2, 3)))
    assert aligned.index.tolist() == [0, 7, 8]
    assert aligned.unexplained == (7,)


def test_a_medium_of_the_same_size_and_another_shape_has_no_counterpart() -> None:
    aligned = assert_agrees(align((1, (1, 2, 3), 2), (1, (1, 3, 2), 2)))
    assert aligned.index.tolist() == [0, 7]
    assert aligned.unexplained == (7,)


def test_media_shift_consecutive_positions_like_text() -> None:
    pair = make_pair(trace_of("transformers", (1, IMAGE, 2)), trace_of("vllm", (1, OTHER, 2)))
    aligned = assert_agrees(align_positions(pair, np.arange(8)[np.newaxis], np.arange(11)[np.newaxis]))
    assert (aligned.shift[0, -1], aligned.unexplained) == (3, ())


def test_text_inside_a_medium_leaves_the_shift_behind_it_open() -> None:
    """Timestamps between the frames of a video: their positions may be counted from the first frame."""
    sides = []
    for backend, gap in (("transformers", (5,)), ("vllm", (5, 6))):
        ids = (1, 7, 7, *gap, 7, 7, 2)
        span = Span.of("video", 0, [1, 2, 3 + len(gap), 4 + len(gap)])
        video = MediaInput(modality="video", item=0, fields={"grid": (2, 1, 2)})
        sides.append(make_trace(backend, input_ids=ids, spans=(span,), media=(video,)))
    positions = [number((1, (1, 1, 2), *gap, (1, 1, 2), 2)) for gap in ((5,), (5, 6))]
    aligned = assert_agrees(align_positions(make_pair(*sides), *positions))
    assert aligned.unexplained == (4,)


def test_interleaved_media_do_not_correspond() -> None:
    """Audio of a video with its frames, in chunks of other lengths."""
    sides = []
    for backend, first in (("transformers", 2), ("vllm", 1)):
        ids = (1, *[7] * first, 8, 8, *[7] * (4 - first), 8, 8, 2)
        audio = Span.of("audio", 0, [position for position, token in enumerate(ids) if token == 7])
        video = Span.of("video", 0, [position for position, token in enumerate(ids) if token == 8])
        media = tuple(MediaInput(modality=span.modality, item=0, fields={}) for span in (audio, video))
        sides.append(make_trace(backend, input_ids=ids, spans=(audio, video), media=media))
    positions = np.arange(10)[np.newaxis].repeat(3, axis=0)
    aligned = assert_agrees(align_positions(make_pair(*sides), positions, positions))
    assert aligned.index.tolist() == [0, 9]  # the text around them
    assert aligned.unexplained == (9,)


def test_a_video_of_which_only_some_frames_correspond_is_not_compared() -> None:
    sides = []
    for backend, runs in (("transformers", (1, 2, 2)), ("vllm", (2, 2, 1))):
        ids = (1, *(token for count in runs for token in (5, *[7] * count)), 2)
        frames = Span.of("video", 0, [position for position, token in enumerate(ids) if token == 7])
        sides.append(make_trace(backend, input_ids=ids, spans=(frames,), media=(VIDEO,)))
    positions = np.arange(10)[np.newaxis].repeat(3, axis=0)
    aligned = assert_agrees(align_positions(make_pair(*sides), positions, positions))
    assert not set(aligned.index) & {2, 4, 5, 7, 8}  # the frames


def test_a_reference_whose_text_advances_otherwise_explains_no_shift() -> None:
    pair = make_pair(trace_of("transformers", (1, 2, 3)), trace_of("vllm", (1, 2, 8, 3)))
    aligned = align_positions(pair, np.array([[0, 2, 4]] * 3), np.array([[0, 2, 4, 6]] * 3))
    assert assert_agrees(aligned).unexplained == (2,)


@pytest.mark.parametrize(
    "changes",
    [{"spans": None}, {"input_ids": None, "prompt_tokens": 12}, {"spans": (Span.of("image", 0, [99]),)}],
    ids=["spans unknown", "ids unknown", "spans behind the prompt"],
)
def test_without_known_spans_nothing_corresponds(changes: dict[str, Any]) -> None:
    positions = np.arange(len(IDS))[np.newaxis]
    assert align_positions(make_pair(tested=make_trace(**changes)), positions, positions) is None


def test_ids_without_a_common_one_do_not_correspond() -> None:
    assert align((1, 2), (3, 4)) is None


items = st.one_of(st.integers(0, 3), st.sampled_from([IMAGE, OTHER, (1, 3, 2)]))
prompts: st.SearchStrategy[Prompt] = st.lists(items, min_size=1, max_size=12).map(tuple)


@st.composite
def edited_prompts(draw: st.DrawFn) -> tuple[Prompt, Prompt]:
    """Draw a prompt, and the same one with a few parts replaced."""
    reference = draw(prompts)
    tested: list[int | Grid] = list(reference)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(tested)))
        stop = draw(st.integers(start, min(start + 2, len(tested))))
        tested[start:stop] = draw(st.lists(items, max_size=2))
    return reference, tuple(tested)


@given(edited_prompts())
def test_sides_that_number_alike_agree_however_their_prompts_differ(sides: tuple[Prompt, Prompt]) -> None:
    aligned = align(*sides)
    if aligned is not None:
        assert_agrees(aligned)


@given(edited_prompts(), st.data())
def test_a_wrong_position_is_found_wherever_the_shift_is_known(
    sides: tuple[Prompt, Prompt], data: st.DataObject
) -> None:
    aligned = align(*sides)
    if aligned is None or aligned.unexplained:
        return
    positions = number(sides[1])
    row = data.draw(st.sampled_from(aligned.tested_index.tolist()))
    positions[data.draw(st.integers(0, 2)), row] += data.draw(st.sampled_from([-1, 1]))
    wrong = align(*sides, positions)
    assert wrong is not None
    assert aligned.tested_index[(wrong.reference != wrong.tested).any(axis=0)].tolist() == [row]


INSERTED = 9
LONGER = (*IDS[:INSERTED], 11, *IDS[INSERTED:])


def decide(trace_files: TraceFiles, positions: np.ndarray, **changes: Any) -> Verdict:
    """Return the verdict on a prompt of which the tested side has one id more, behind an image."""
    tested = make_trace(**{"input_ids": LONGER, **changes})
    trace_files.write(trace_files.tested, tested, {**ARRAYS, "positions": positions})
    return trace_files.decide_verdict()


def number_longer() -> np.ndarray:
    return np.arange(len(LONGER))[np.newaxis].repeat(3, axis=0)


def test_positions_behind_an_inserted_id_match_and_let_the_difference_pass(trace_files: TraceFiles) -> None:
    verdict = decide(trace_files, number_longer())
    found = verdict.stage(Stage.POSITIONS)
    assert found.status is DiffStatus.MATCH
    assert found.metrics == {
        "positions": 12,
        "different": 0,
        "different_in_spans": 0,
        ALIGNED_POSITIONS: 12,
        "reference_only": 0,
        "tested_only": 1,
        "shift": 1,
    }
    assert found.message == (
        "the ids differ; those of 12 of 12 ids agree with their counterparts', up to the shift by the ids "
        "that only one side has"
    )
    assert [diff.stage for diff in verdict.differences] == [Stage.INPUT_IDS]
    assert Stage.POSITIONS in find_unjudged(verdict)
    assert not list(find_contradictions(verdict))


def differing(trace_files: TraceFiles, positions: np.ndarray, **changes: Any) -> tuple[StageDiff, list[str]]:
    """Return the difference at positions, which does not follow from the ids, and its causes."""
    verdict = decide(trace_files, positions, **changes)
    found = verdict.stage(Stage.POSITIONS)
    assert [diff.stage for diff in verdict.differences] == [Stage.INPUT_IDS, Stage.POSITIONS]
    assert not list(find_contradictions(verdict))
    return found, [each.cause for each in verdict.get_diagnoses(Stage.POSITIONS)]


def test_positions_that_do_not_count_an_inserted_id_differ(trace_files: TraceFiles) -> None:
    positions = number_longer()
    positions[:, INSERTED + 1 :] -= 1
    found, causes = differing(trace_files, positions)
    assert (found.metrics["different"], found.metrics["first_different"]) == (3, INSERTED)
    assert found.message.splitlines()[:5] == [
        "the ids differ, and so do positions of 3 of 12 ids that both sides have, beyond the shift by the "
        "others; first at index 9",
        "   index  token            reference (time, height, width)  shifted     vllm",
        "   7/7    What (3)         7, 7, 7                          7, 7, 7     7, 7, 7",
        "   8/8     is (4)          8, 8, 8                          8, 8, 8     8, 8, 8",
        ">  9/10    it (5)          9, 9, 9                          10, 10, 10  9, 9, 9",
    ]
    assert "shift behind different ids differs" in causes


def test_one_axis_inside_the_image_in_front_of_an_inserted_id_differs(trace_files: TraceFiles) -> None:
    positions = number_longer()
    positions[1, 4] += 1
    found, causes = differing(trace_files, positions)
    assert (found.metrics["different"], found.metrics["different_in_spans"]) == (1, 1)
    assert causes == ["media positions differ"]


def test_decoding_time_of_an_image_behind_an_inserted_id_is_explained(trace_files: TraceFiles) -> None:
    positions = number_longer()
    positions[0, 4:8] += 2
    moved = Span.of("image", 0, range(4, 8))
    found, causes = differing(trace_files, positions, input_ids=(IDS[0], 11, *IDS[1:]), spans=(moved,))
    assert found.metrics["different_in_spans"] == 4
    assert causes[0] == "temporal position offset differs"


def test_a_shift_behind_a_medium_of_another_size_is_not_judged(trace_files: TraceFiles) -> None:
    shorter = (*IDS[:3], *[IMAGE_PAD] * 3, *IDS[7:])
    changes = {
        "input_ids": shorter,
        "spans": (Span.of("image", 0, range(3, 6)),),
        "media": (IMAGE_INPUT.model_copy(update={"fields": {"grid": (1, 4, 3)}}),),
    }
    square = number((0, 1, 2, (1, 2, 2), 3, 4, 5, 6, 7))
    trace_files.write(trace_files.reference, make_trace("transformers"), {**ARRAYS, "positions": square})
    row = number((0, 1, 2, (1, 1, 3), 3, 4, 5, 6, 7))
    found = decide(trace_files, row, **changes).stage(Stage.POSITIONS)
    assert found.status is DiffStatus.NOT_COMPARED
    assert (found.metrics["unexplained_shifts"], found.metrics[ALIGNED_POSITIONS]) == (1, 8)
    assert found.message == (
        "the ids differ, so the positions have no counterpart; those of 8 of 12 ids agree with their "
        "counterparts', but their shift from index 7 on depends on media that differ"
    )
    row[:, 9] += 1
    assert decide(trace_files, row, **changes).stage(Stage.POSITIONS).metrics["first_different"] == 10


def test_another_number_of_positions_than_of_ids_is_not_aligned(trace_files: TraceFiles) -> None:
    found = decide(trace_files, number_longer()[:, 1:]).stage(Stage.POSITIONS)
    assert found.message == "the ids differ, so the positions have no counterpart"
