"""Mistral 3 and Pixtral: images of any size, cropped from arrays padded to the largest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.models.families.base import MediumInfo
from vlm_parity.models.registry import load_family

IMAGE, BREAK, END = 10, 12, 13
SIZES = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=4)
"""Rows and columns of ``[IMG]`` of each image."""
CONFIGS = {
    "mistral3": {"image_token_index": IMAGE, "spatial_merge_size": 2, "vision_config": {"patch_size": 14}},
    "pixtral": {"image_token_index": IMAGE, "vision_config": {"patch_size": 16}},
}
SIDES = {"mistral3": 28, "pixtral": 16}
"""Side, in pixels, of the square of one ``[IMG]``."""


def write_prompt(sizes: list[tuple[int, int]]) -> list[int]:
    ids = [1, 3]
    for rows, columns in sizes:
        ids += ([IMAGE] * columns + [BREAK]) * rows
        ids[-1] = END
    return [*ids, 4]


@pytest.mark.parametrize("name", CONFIGS)
@given(sizes=SIZES)
def test_each_image_has_its_own_positions(name: str, sizes: list[tuple[int, int]]) -> None:
    ids = write_prompt(sizes)
    inputs = {"image_sizes": np.array(sizes) * SIDES[name]}
    spans = load_family(name).locate_spans(CONFIGS[name], ids, inputs, [MediumInfo("image")] * len(sizes))
    assert [span.embedded for span in spans] == [rows * columns for rows, columns in sizes]
    assert all(len(span.runs) == rows for span, (rows, _) in zip(spans, sizes, strict=True))
    places = [position for span in spans for position in span.positions]
    assert places == [place for place, token in enumerate(ids) if token == IMAGE]


@given(sizes=SIZES)
def test_padding_is_cropped(sizes: list[tuple[int, int]]) -> None:
    height, width = np.array(sizes).max(axis=0)
    padded = np.zeros((len(sizes), 3, height, width))
    for image, (rows, columns) in zip(padded, sizes, strict=True):
        image[:, :rows, :columns] = 1
    inputs = {"pixel_values": padded, "image_sizes": np.array(sizes)}
    images = load_family("mistral3").split_tower_inputs({}, inputs, ())["image"]
    assert [item.arrays["pixel_values"].shape for item in images] == [(3, *size) for size in sizes]
    assert all(item.arrays["pixel_values"].all() for item in images)


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 3, 4, 5)])
def test_single_image_of_an_engine_may_lack_sizes_and_the_axis_of_images(shape: tuple[int, ...]) -> None:
    (item,) = load_family("pixtral").split_tower_inputs({}, {"pixel_values": np.ones(shape)}, ())["image"]
    assert item.arrays["pixel_values"].shape == (3, 4, 5)


def test_text_has_no_media() -> None:
    family = load_family("mistral3")
    assert family.locate_spans(CONFIGS["mistral3"], [1, 3, 4], {}, []) == ()
    assert family.split_tower_inputs({}, {"input_ids": np.zeros((1, 3))}, ()) == {}


def test_pixtral_is_distinguished_from_llava_by_its_tower() -> None:
    family = load_family("pixtral")
    assert family.matches_config({"model_type": "llava", "vision_config": {"model_type": "pixtral"}})
    assert not family.matches_config(
        {"model_type": "llava", "vision_config": {"model_type": "clip_vision_model"}}
    )
    assert not family.matches_config({"model_type": "mistral3", "vision_config": {"model_type": "pixtral"}})
