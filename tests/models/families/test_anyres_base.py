"""Images in tiles: their features, and their parts of the processor's arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.models.families.anyres_base import (
    build_tiled_images,
    choose_best_resolution,
    count_kept_patches,
    count_patches_per_side,
    count_tiles,
)
from vlm_parity.models.families.base import MediumInfo
from vlm_parity.models.registry import load_family

SIDE, PATCH = 28, 14
CONFIG: dict[str, Any] = {
    "vision_config": {"image_size": SIDE, "patch_size": PATCH},
    "image_grid_pinpoints": [[28, 56], [56, 28], [56, 56]],
    "image_token_index": 7,
    "video_token_index": 8,
    "vision_aspect_ratio": "anyres_max_9",
    "spatial_pool_stride": 2,
}
SIZES = st.tuples(st.integers(1, 400), st.integers(1, 400))


def process(sizes: list[tuple[int, int]]) -> dict[str, np.ndarray]:
    """Build a processor's output: each image padded to five tiles, filled with the number of the image."""
    pixels = np.zeros((len(sizes), 5, 3, SIDE, SIDE), np.float32)
    for item, size in enumerate(sizes):
        rows, columns = count_tiles(CONFIG, size)
        pixels[item, : 1 + rows * columns] = 1 + item
    return {"pixel_values": pixels, "image_sizes": np.array(sizes)}


@pytest.mark.parametrize(
    ("size", "best"),
    [
        ((28, 56), (28, 56)),
        ((100, 30), (56, 28)),
        ((300, 300), (56, 56)),
        # All of them keep every pixel: the one that wastes the fewest, and the first of two.
        ((10, 10), (28, 56)),
    ],
)
def test_best_resolution(size: tuple[int, int], best: tuple[int, int]) -> None:
    assert choose_best_resolution(size, [(28, 56), (56, 28), (56, 56)]) == best


@given(size=SIZES)
def test_padding_is_removed_from_both_ends_of_one_axis(size: tuple[int, int]) -> None:
    patches = count_patches_per_side(CONFIG)
    totals = [patches * tiles for tiles in count_tiles(CONFIG, size)]
    kept = count_kept_patches(CONFIG, size)
    assert any(count == total for count, total in zip(kept, totals, strict=True))
    for count, total in zip(kept, totals, strict=True):
        assert 0 <= count <= total
        assert (total - count) % 2 == 0


@given(sizes=st.lists(SIZES, min_size=1, max_size=3))
def test_each_image_has_its_own_tiles_without_padding(sizes: list[tuple[int, int]]) -> None:
    images = build_tiled_images(CONFIG, process(sizes))
    assert [image.fields["size"] for image in images] == sizes
    for item, image in enumerate(images):
        assert image.fields["tiles"] == (len(image.arrays["pixel_values"]),)
        assert (image.arrays["pixel_values"] == 1 + item).all()


def test_single_image_of_an_engine_may_lack_the_axis_of_images() -> None:
    inputs = process([(56, 28)])
    (image,) = build_tiled_images(CONFIG, {name: value[0] for name, value in inputs.items()})
    np.testing.assert_array_equal(image.arrays["pixel_values"], inputs["pixel_values"][0, :3])


def test_text_has_no_media() -> None:
    for name in ("llava_next", "llava_next_video", "llava_onevision"):
        assert load_family(name).split_tower_inputs(CONFIG, {"input_ids": np.zeros((1, 3))}, ()) == {}


def locate_lengths(
    family: str, sizes: list[tuple[int, int]], frames: list[int]
) -> list[tuple[str, int, int]]:
    """Return modality, item and length of all spans in a prompt with more placeholders than needed."""
    media = [MediumInfo("image") for _ in sizes] + [MediumInfo("video", count) for count in frames]
    ids = [7] * 200 + [8] * 200
    spans = load_family(family).locate_spans(CONFIG, ids, process(sizes), media)
    return [(span.modality, span.item, span.embedded) for span in spans]


def test_llava_next_has_a_newline_feature_after_every_row() -> None:
    # 2 x 2 patches of the downscaled image; two tiles side by side are 2 rows of 4.
    assert locate_lengths("llava_next", [(28, 56), (56, 56)], []) == [
        ("image", 0, 4 + 2 * 5),
        ("image", 1, 4 + 4 * 5),
    ]


def test_llava_next_video_pools_frames() -> None:
    # 2 x 2 patches of a frame are pooled to one.
    assert locate_lengths("llava_next_video", [(28, 56)], [3]) == [("image", 0, 4 + 2 * 5), ("video", 0, 3)]


def test_llava_onevision_tiles_only_a_single_image() -> None:
    assert locate_lengths("llava_onevision", [(28, 56)], []) == [("image", 0, 4 + 2 * 5)]
    assert locate_lengths("llava_onevision", [(28, 56), (56, 56)], []) == [("image", 0, 5), ("image", 1, 5)]


def test_llava_onevision_downsamples_the_features_of_many_tiles() -> None:
    # 4 x 4 patches with 2 tiles of 2 x 2 allowed: each side is too long by sqrt(2) = 1.414.
    few = {**CONFIG, "vision_aspect_ratio": "anyres_max_2"}
    (span,) = load_family("llava_onevision").locate_spans(
        few, [7] * 50, process([(56, 56)]), [MediumInfo("image")]
    )
    assert span.embedded == 4 + 2 * 3


def test_llava_onevision_pools_frames_and_adds_a_newline_to_videos() -> None:
    # 2 x 2 patches of a frame are pooled to one.
    assert locate_lengths("llava_onevision", [(28, 56)], [3, 5]) == [
        ("image", 0, 14),
        ("video", 0, 4),
        ("video", 1, 6),
    ]
    pixels = {"pixel_values_videos": np.arange(2 * 3 * 3 * 4, dtype=np.float32).reshape(2, 3, 3, 2, 2)}
    videos = load_family("llava_onevision").split_tower_inputs(CONFIG, pixels, ())["video"]
    assert [video.fields["frames"] for video in videos] == [(3.0,), (3.0,)]
    np.testing.assert_array_equal(
        np.stack([video.arrays["pixel_values"] for video in videos]), pixels["pixel_values_videos"]
    )
