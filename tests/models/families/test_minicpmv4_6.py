"""MiniCPM-V 4.6: images in slices, concatenated by transformers, padded by vLLM."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.models.families.base import MediumInfo
from vlm_parity.models.registry import load_family
from vlm_parity.schema.trace import Span

FAMILY = load_family("minicpmv4_6")
CONFIG = {"image_token_id": 9, "video_token_id": 8, "downsample_mode": "16x"}
IMAGE, IMAGE_END, SLICE, SLICE_END, NUMBER = 11, 12, 13, 14, 15
CHANNELS, SIDE = 3, 2
SIZES = st.lists(st.tuples(st.integers(1, 2), st.integers(1, 3)), min_size=1, max_size=3)
"""Height and width of each slice, in merged patches."""


def write_frame(placeholder: int, sizes: list[tuple[int, int]]) -> list[int]:
    """Write the ids of one image: whole, then in slices."""
    ids: list[int] = []
    for number, (height, width) in enumerate(sizes):
        start, stop = (SLICE, SLICE_END) if number else (IMAGE, IMAGE_END)
        ids += [start, *[placeholder] * (height * width), stop]
    return ids


@given(images=st.lists(SIZES, max_size=3), videos=st.lists(st.tuples(st.integers(1, 3), SIZES), max_size=2))
def test_media_have_their_slices_and_frames(
    images: list[list[tuple[int, int]]], videos: list[tuple[int, list[tuple[int, int]]]]
) -> None:
    media = [("image", 1, sizes) for sizes in images] + [("video", count, sizes) for count, sizes in videos]
    ids: list[int] = [1]
    expected = []
    for modality, frames, sizes in media:
        placeholder = FAMILY.get_placeholder_ids(CONFIG)[modality]  # type: ignore[index]
        start = len(ids)
        ids += [NUMBER, 2, NUMBER, *write_frame(placeholder, sizes) * frames, 3]
        expected.append([place for place in range(start, len(ids)) if ids[place] == placeholder])
    media_info = [MediumInfo(modality, frames) for modality, frames, _ in media]  # type: ignore[arg-type]
    assert [span.positions for span in FAMILY.locate_spans(CONFIG, ids, {}, media_info)] == expected


def draw_slices(sizes: list[tuple[int, int]]) -> list[np.ndarray]:
    """Draw each slice as [channels, side, width of all patches], without equal numbers."""
    widths = [16 * height * width * SIDE for height, width in sizes]
    whole = np.arange(CHANNELS * SIDE * sum(widths), dtype=np.float32).reshape(CHANNELS, SIDE, -1)
    return np.split(whole, np.cumsum(widths)[:-1], axis=-1)


@given(sizes=SIZES, more=SIZES)
def test_packed_and_padded_slices_have_the_same_patches(
    sizes: list[tuple[int, int]], more: list[tuple[int, int]]
) -> None:
    slices = draw_slices(sizes + more)
    grids = np.array([(4 * height, 4 * width) for height, width in sizes + more])
    counts = [sum(height * width for height, width in image) for image in (sizes, more)]
    spans = [
        Span.of("image", 0, range(counts[0])),
        Span.of("image", 1, range(counts[0], sum(counts))),
    ]
    packed = {"pixel_values": np.concatenate(slices, axis=-1)[None], "target_sizes": grids}
    together = FAMILY.split_tower_inputs(CONFIG, packed, spans)["image"]
    own = slices[: len(sizes)]
    width = max(array.shape[-1] for array in own)
    padded = np.stack([np.pad(array, ((0, 0), (0, 0), (0, width - array.shape[-1]))) for array in own])
    engine = {"pixel_values": padded, "target_sizes": grids[: len(sizes)]}
    (single,) = FAMILY.split_tower_inputs(CONFIG, engine, spans[:1])["image"]
    assert len(together) == 2
    assert together[0].fields == single.fields == {"slices": tuple(grids[: len(sizes)].ravel().tolist())}
    np.testing.assert_array_equal(together[0].arrays["pixel_values"], single.arrays["pixel_values"])
    values = np.concatenate([image.arrays["pixel_values"] for image in together])
    assert values.shape == (16 * sum(counts), CHANNELS * SIDE * SIDE)
    assert sorted(values.ravel().tolist()) == list(range(values.size))


def test_patches_keep_their_rows() -> None:
    pixels = np.arange(2 * 2 * 16 * 2, dtype=np.float32).reshape(1, 2, 2, 32)
    split = FAMILY.split_tower_inputs(
        CONFIG, {"pixel_values": pixels, "target_sizes": np.array([[4, 4]])}, [Span.of("image", 0, [0])]
    )
    second = split["image"][0].arrays["pixel_values"][1]
    np.testing.assert_array_equal(second, pixels[0, :, :, 2:4].ravel())
