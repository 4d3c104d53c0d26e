"""Idefics3 and SmolVLM: tiles of one image, and frames of one video."""

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
"""Rows and columns of tiles; no rows for an image without tiles."""
VIDEO = st.integers(1, 4)
"""Frames."""


def write_image(rows: int, columns: int) -> list[int]:
    """Write an image like the processor of Idefics3."""
    tile = [FAKE, TAG, *[IMAGE] * POSITIONS]
    grid = (tile * columns + [LINE]) * rows
    return [*grid, *([LINE] if rows else []), *tile, FAKE]


def count_tiles(rows: int, columns: int) -> int:
    return rows * columns + 1


def list_media(grids: list[tuple[int, int]], frames: int | None = None) -> list[MediumInfo]:
    """List images, then perhaps a video."""
    return [*[MediumInfo("image")] * len(grids), *([] if frames is None else [MediumInfo("video", frames)])]


@given(grids=GRIDS, adjacent=st.booleans())
def test_each_image_has_its_own_tiles(grids: list[tuple[int, int]], adjacent: bool) -> None:
    between = [] if adjacent else [WORD]
    ids = [WORD, *[token for grid in grids for token in [*write_image(*grid), *between]], WORD]
    spans = load_family("idefics3").locate_spans(CONFIG, ids, {}, list_media(grids))
    assert [span.embedded for span in spans] == [count_tiles(*grid) * POSITIONS for grid in grids]
    places = [position for span in spans for position in span.positions]
    assert places == [place for place, token in enumerate(ids) if token == IMAGE]


@given(grids=GRIDS, frames=VIDEO)
def test_each_frame_of_a_video_is_written_as_an_image(grids: list[tuple[int, int]], frames: int) -> None:
    ids = [token for grid in grids for token in write_image(*grid)] + [WORD, *write_image(0, 1)] * frames
    spans = load_family("smolvlm").locate_spans(CONFIG, ids, {}, list_media(grids, frames))
    assert [(span.modality, span.item) for span in spans][-1] == ("video", 0)
    assert spans[-1].embedded == frames * POSITIONS


@given(grids=GRIDS, padding=st.integers(0, 2))
def test_tiles_are_split_without_padding(grids: list[tuple[int, int]], padding: int) -> None:
    counts = [count_tiles(*grid) for grid in grids]
    pixels = np.zeros((1, sum(counts) + padding, 3, 2, 2))
    pixels[0, : sum(counts)] = 1 + np.arange(sum(counts)).reshape(-1, 1, 1, 1)
    spans = [Span.of("image", item, range(count * POSITIONS)) for item, count in enumerate(counts)]
    images = load_family("idefics3").split_tower_inputs(CONFIG, {"pixel_values": pixels}, spans)["image"]
    assert [item.fields for item in images] == [{"tiles": (count,)} for count in counts]
    joined = np.concatenate([item.arrays["pixel_values"] for item in images])
    np.testing.assert_array_equal(joined, pixels[0, : sum(counts)])


def test_text_has_no_media() -> None:
    family = load_family("idefics3")
    assert family.locate_spans(CONFIG, [WORD, WORD], {}, []) == ()
    assert family.split_tower_inputs(CONFIG, {"input_ids": np.zeros((1, 3))}, ()) == {}


def test_smolvlm_nests_the_videos_of_a_prompt() -> None:
    family = load_family("smolvlm")
    assert family.adapt_processor_arguments({"videos": [1, 2], "do_sample_frames": False}) == {
        "videos": [[1, 2]],
        "do_sample_frames": False,
    }
    assert family.adapt_processor_arguments({"images": [1]}) == {"images": [1]}
