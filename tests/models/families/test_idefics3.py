"""Idefics3 and SmolVLM: which tiles belong to one picture, and which pictures to one video."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.models.families.base import MediumInfo
from vlm_parity.models.registry import load_family
from vlm_parity.schema.trace import Span

IMAGE, FAKE, LINE, TAG, WORD = 5, 6, 7, 8, 9
POSITIONS = 4
CONFIG = {"image_token_id": IMAGE, "scale_factor": 2, "vision_config": {"image_size": 56, "patch_size": 14}}
GRIDS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), min_size=1, max_size=4)
"""Rows and columns of tiles; no rows stand for a picture that is not cut."""
VIDEO = st.integers(1, 4)
"""Frames."""


def picture(rows: int, columns: int) -> list[int]:
    """As the processor of Idefics3 writes it."""
    tile = [FAKE, TAG, *[IMAGE] * POSITIONS]
    grid = (tile * columns + [LINE]) * rows
    return [*grid, *([LINE] if rows else []), *tile, FAKE]


def tiles(rows: int, columns: int) -> int:
    return rows * columns + 1


def offered(grids: list[tuple[int, int]], frames: int | None = None) -> list[MediumInfo]:
    """Pictures, then perhaps a video."""
    return [*[MediumInfo("image")] * len(grids), *([] if frames is None else [MediumInfo("video", frames)])]


@given(grids=GRIDS, beside=st.booleans())
def test_every_picture_has_its_own_tiles(grids: list[tuple[int, int]], beside: bool) -> None:
    between = [] if beside else [WORD]
    ids = [WORD, *[token for grid in grids for token in [*picture(*grid), *between]], WORD]
    spans = load_family("idefics3").spans(CONFIG, ids, {}, offered(grids))
    assert [span.embedded for span in spans] == [tiles(*grid) * POSITIONS for grid in grids]
    places = [position for span in spans for position in span.positions]
    assert places == [at for at, token in enumerate(ids) if token == IMAGE]


@given(grids=GRIDS, frames=VIDEO)
def test_a_video_is_one_picture_a_frame(grids: list[tuple[int, int]], frames: int) -> None:
    ids = [token for grid in grids for token in picture(*grid)] + [WORD, *picture(0, 1)] * frames
    spans = load_family("smolvlm").spans(CONFIG, ids, {}, offered(grids, frames))
    assert [(span.modality, span.item) for span in spans][-1] == ("video", 0)
    assert spans[-1].embedded == frames * POSITIONS


@given(grids=GRIDS, padding=st.integers(0, 2))
def test_the_tiles_are_dealt_out_without_the_padding(grids: list[tuple[int, int]], padding: int) -> None:
    counts = [tiles(*grid) for grid in grids]
    pixels = np.zeros((1, sum(counts) + padding, 3, 2, 2))
    pixels[0, : sum(counts)] = 1 + np.arange(sum(counts)).reshape(-1, 1, 1, 1)
    spans = [Span.of("image", item, range(count * POSITIONS)) for item, count in enumerate(counts)]
    found = load_family("idefics3").tower_inputs(CONFIG, {"pixel_values": pixels}, spans)["image"]
    assert [item.fields for item in found] == [{"tiles": (count,)} for count in counts]
    joined = np.concatenate([item.arrays["pixel_values"] for item in found])
    np.testing.assert_array_equal(joined, pixels[0, : sum(counts)])


def test_text_has_no_media() -> None:
    family = load_family("idefics3")
    assert family.spans(CONFIG, [WORD, WORD], {}, []) == ()
    assert family.tower_inputs(CONFIG, {"input_ids": np.zeros((1, 3))}, ()) == {}


def test_smolvlm_wants_the_videos_of_a_prompt_in_a_list() -> None:
    family = load_family("smolvlm")
    assert family.processor_arguments({"videos": [1, 2], "do_sample_frames": False}) == {
        "videos": [[1, 2]],
        "do_sample_frames": False,
    }
    assert family.processor_arguments({"images": [1]}) == {"images": [1]}
