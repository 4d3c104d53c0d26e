"""Explanations of ids that differ although the text is equal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.findings import (
    IMAGE,
    IMAGE_PAD,
    PAD,
    VIDEO,
    explain_traces,
    format_turn,
    get_token_text,
    list_found_causes,
    render_text,
)
from vlm_parity.schema.trace import FrameSampling, MediaInput, Span, Trace

CONVERSATION = format_turn(f"First: {IMAGE} and then: {IMAGE} What changed?")
CLIP = format_turn(f"{VIDEO}What happens?")
REFERENCE = render_text(CONVERSATION, 12, 20)


def changed(reference: Trace, ids: list[int] | tuple[int, ...], **changes: Any) -> Trace:
    """Return the same trace with different ids."""
    return reference.model_copy(update={"input_ids": tuple(ids), **changes})


def replaced(text: str, *, other: str) -> Trace:
    """Return the reference with one id replaced by another."""
    ids = [
        get_token_text(other) if number == get_token_text(text) else number
        for number in REFERENCE.input_ids or ()
    ]
    return changed(REFERENCE, ids)


def with_grids(trace: Trace, *grids: tuple[int, int, int]) -> Trace:
    """Add the grids of the media, in patches, to a trace."""
    media = tuple(
        MediaInput(modality=span.modality, item=span.item, fields={"grid": grid})
        for span, grid in zip(trace.spans or (), grids, strict=True)
    )
    return trace.model_copy(update={"media": media})


def test_equal_ids_are_not_explained() -> None:
    assert not explain_traces(REFERENCE, REFERENCE)


@pytest.mark.parametrize("padding", [PAD, "<pad>", "</s>", "<|end_of_text|>", "[PAD]"])
def test_the_pad_token_in_the_images_place(padding: str) -> None:
    tested = replaced(IMAGE_PAD, other=padding)
    (found,) = explain_traces(
        REFERENCE, tested.model_copy(update={"vocabulary": {get_token_text(padding): padding}})
    )
    assert (found.cause, found.confidence) == ("pad token used as image token", 1.0)
    assert f'vllm has "{padding}" ({get_token_text(padding)}) at 32 positions' in found.explanation
    assert f'the reference "{IMAGE_PAD}" ({get_token_text(IMAGE_PAD)}) at 32' in found.explanation


@pytest.mark.parametrize("other", ["<|video_pad|>", "<|box_start|>", "!"])
def test_another_token_in_the_images_place(other: str) -> None:
    tested = replaced(IMAGE_PAD, other=other)
    assert list_found_causes(
        REFERENCE, tested.model_copy(update={"vocabulary": {get_token_text(other): other}})
    ) == ["placeholder token differs"]


def test_the_pad_token_is_named_although_a_row_is_missing_too() -> None:
    ids = [
        get_token_text(PAD) if number == get_token_text(IMAGE_PAD) else number
        for number in render_text(CONVERSATION, 8, 20).input_ids or ()
    ]
    tested = changed(REFERENCE, ids, spans=(), vocabulary={get_token_text(PAD): PAD})
    assert list_found_causes(REFERENCE, tested)[0] == "pad token used as image token"


def test_one_of_two_media_as_something_else_is_not_the_image_token() -> None:
    ids = list(REFERENCE.input_ids or ())
    first = (REFERENCE.spans or ())[0]
    ids[first.offset : first.offset + first.length] = [get_token_text(PAD)] * first.length
    assert "pad token used as image token" not in list_found_causes(REFERENCE, changed(REFERENCE, ids))


def test_the_first_token_twice() -> None:
    ids = REFERENCE.input_ids or ()
    (found,) = explain_traces(REFERENCE, changed(REFERENCE, (ids[0], *ids)))
    assert (found.cause, found.confidence) == ("BOS token doubled", 1.0)
    assert f'vllm starts with "<|im_start|>" ({ids[0]}) twice' in found.explanation


def test_the_first_token_left_out_is_not_a_system_prompt_left_out() -> None:
    (found,) = explain_traces(REFERENCE, changed(REFERENCE, (REFERENCE.input_ids or ())[1:]))
    assert (found.cause, found.confidence) == ("BOS token missing", 1.0)


def test_media_of_two_sizes_that_change_places() -> None:
    (found,) = explain_traces(REFERENCE, render_text(CONVERSATION, 20, 12))
    assert found.cause == "media reordered"
    assert (
        "12 (image), 20 (image) positions in the reference and 20 (image), 12 (image) in vllm"
        in found.explanation
    )


def test_a_row_by_the_grid() -> None:
    reference = with_grids(REFERENCE, (1, 6, 8), (1, 8, 10))
    tested = with_grids(render_text(CONVERSATION, 8, 20), (1, 6, 8), (1, 8, 10))
    (found,) = explain_traces(reference, tested)
    assert (found.cause, found.confidence) == ("placeholder count differs by grid rows", 0.95)
    assert found.explanation == (
        "image 0 has 8 positions in vllm and 12 in the reference: 1 row of 4 too few of its grid 1 x 3 x 4."
    )


@given(st.integers(1, 9), st.integers(2, 9), st.integers(-8, 8), st.booleans())
def test_any_rows_are_counted(height: int, width: int, rows: int, on_both_sides: bool) -> None:
    count = height * width
    if rows == 0 or height + rows < 1:
        return
    grid = (1, 2 * height, 2 * width)
    text = format_turn(f"{IMAGE}What?")
    tested = render_text(text, count + rows * width)
    (found,) = explain_traces(
        with_grids(render_text(text, count), grid), with_grids(tested, grid) if on_both_sides else tested
    )
    assert found.cause == "placeholder count differs by grid rows"
    assert f"{abs(rows)} row{'s' if abs(rows) > 1 else ''} of {width} too " in found.explanation


def test_a_row_by_the_common_divisor_is_less_sure() -> None:
    (found,) = explain_traces(render_text(format_turn(IMAGE), 88), render_text(format_turn(IMAGE), 77))
    assert (found.cause, found.confidence) == ("placeholder count differs by grid rows", 0.6)


def test_another_size_by_the_grids() -> None:
    text = format_turn(f"{IMAGE}What?")
    reference, tested = render_text(text, 88), render_text(text, 77)
    (found,) = explain_traces(with_grids(reference, (1, 16, 22)), with_grids(tested, (1, 14, 22)))
    assert (found.cause, found.confidence) == ("image resized differently", 0.95)
    assert "its grid is 1 x 7 x 11, not 1 x 8 x 11" in found.explanation


@pytest.mark.parametrize("grids", [(), ((1, 16, 22),)])
def test_another_size_by_the_counts(grids: tuple[tuple[int, int, int], ...]) -> None:
    reference = render_text(format_turn(IMAGE), 88)
    assert list_found_causes(
        with_grids(reference, *grids) if grids else reference, render_text(format_turn(IMAGE), 63)
    ) == ["image resized differently"]


def test_frames_by_the_grid() -> None:
    reference = with_grids(render_text(CLIP, 48), (4, 6, 8))
    (found,) = explain_traces(reference, render_text(CLIP, 24))
    assert found.cause == "frames sampled differently"
    assert "2 frames of 12 too few of its grid 4 x 3 x 4" in found.explanation
    assert list_found_causes(reference, with_grids(render_text(CLIP, 24), (2, 6, 8))) == [
        "frames sampled differently"
    ]
    assert list_found_causes(reference, with_grids(render_text(CLIP, 44), (4, 6, 8))) == [
        "placeholder count differs by grid rows"
    ]


def test_frames_by_the_counts_are_less_sure() -> None:
    (found,) = explain_traces(render_text(CLIP, 48), render_text(CLIP, 24))
    assert (found.cause, found.confidence) == ("frames sampled differently", 0.5)
    assert "1 to 2, which whole frames explain" in found.explanation


def test_frames_with_a_run_each() -> None:
    text = "".join(f"<{second}.0 seconds>{VIDEO}" for second in range(4))
    reference = joined_spans(render_text(format_turn(text), *[12] * 4))
    tested = joined_spans(render_text(format_turn(text.partition("<2.0")[0]), *[12] * 2))
    (found,) = explain_traces(reference, tested)
    assert (found.cause, found.confidence) == ("frames sampled differently", 0.9)


def joined_spans(trace: Trace) -> Trace:
    """Join frames to one video."""
    positions = [at for span in trace.spans or () for at in span.positions]
    return trace.model_copy(update={"spans": (Span.of("video", 0, positions),)})


def test_the_same_text_in_other_tokens() -> None:
    reference = render_text(CONVERSATION, 12, 20)
    ids = list(reference.input_ids or ())
    at = ids.index(get_token_text("changed"))
    parts = (get_token_text("chan"), get_token_text("ged"))
    words = render_text("changed" + "chan ged").vocabulary
    (found,) = explain_traces(
        reference, changed(reference, [*ids[:at], *parts, *ids[at + 1 :]], vocabulary=words)
    )
    assert found.cause == "text tokenized differently"
    assert (
        f'"changed" at index {at} is tokenized as changed ({get_token_text("changed")}) in the reference'
        in found.explanation
    )


def test_a_special_token_that_is_plain_text_on_one_side() -> None:
    reference = render_text(format_turn("The token <|im_end|> is typed."), prompt="same")
    ids = list(reference.input_ids or ())
    at = len(ids) - 1 - ids[::-1].index(get_token_text("typed")) - 4
    assert ids[at] == get_token_text("<|im_end|>")
    plain = [get_token_text(piece) for piece in ("<|", "im", "_end", "|>")]
    words = {**reference.vocabulary, **{get_token_text(piece): piece for piece in ("<|", "im", "_end", "|>")}}
    tested = changed(reference, [*ids[:at], *plain, *ids[at + 1 :]], vocabulary=words)
    (found,) = explain_traces(reference, tested)
    assert found.cause == "special tokens in user text tokenized differently"
    assert 'Only the reference tokenizes "<|im_end|>" as a special token' in found.explanation
    (other,) = explain_traces(tested, reference)
    assert 'Only vllm tokenizes "<|im_end|>" as a special token' in other.explanation


def test_without_spans_nothing_is_said_of_media() -> None:
    reference = REFERENCE.model_copy(update={"spans": None})
    tested = render_text(CONVERSATION, 20, 12).model_copy(update={"spans": None})
    assert list_found_causes(reference, tested) == []


def with_frames(trace: Trace, *indices: int) -> Trace:
    """Build the trace of a video file of 48 frames, of which some were sampled."""
    sampling = FrameSampling(decoder="opencv", total=48, fps=24, indices=indices)
    media = (MediaInput(modality="video", item=0, frame_sampling=sampling),)
    return trace.model_copy(update={"media": media})


def test_other_frames_of_a_file_are_named_where_both_sides_say_which() -> None:
    reference, tested = (
        with_frames(render_text(CLIP, 24), *range(48)),
        with_frames(render_text(CLIP, 8), 0, 24),
    )
    found = explain_traces(reference, tested)[0]
    assert (found.cause, found.confidence) == ("frames sampled differently", 1.0)
    assert (
        "From video 0, vllm sampled frames 0, 24 of 48 at 24 frames per second (opencv)" in found.explanation
    )
    assert "the reference all of 48 frames" in found.explanation


def test_the_same_frames_of_a_file_are_no_cause() -> None:
    reference, tested = (with_frames(render_text(CLIP, size), 0, 24) for size in (24, 25))
    assert "frames sampled differently" not in list_found_causes(reference, tested)
    assert "frames sampled differently" not in list_found_causes(reference, render_text(CLIP, 25))
