"""Families that resize every image to one size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.models.families.base import MediumInfo
from vlm_parity.models.registry import load_family
from vlm_parity.models.synthetic.tower_weight_names import get_released_name

FEATURES = 4
CONFIG: dict[str, Any] = {
    "image_token_index": 7,
    "mm_tokens_per_image": FEATURES,  # gemma3
    "vision_config": {"image_size": 28, "patch_size": 14},  # llava, paligemma
    "vision_feature_select_strategy": "default",  # llava
}
NAMES = ("llava", "gemma3", "paligemma")


@pytest.mark.parametrize("name", NAMES)
@given(texts=st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_each_image_has_the_same_number_of_positions(name: str, texts: list[int]) -> None:
    ids = [token for between in texts for token in [0] * between + [7] * FEATURES]
    spans = load_family(name).locate_spans(CONFIG, ids, {}, [MediumInfo("image")] * len(texts))
    assert [span.item for span in spans] == list(range(len(texts)))
    assert [span.embedded for span in spans] == [FEATURES] * len(texts)
    assert [place for span in spans for place in span.positions] == [
        place for place, token in enumerate(ids) if token
    ]


def test_llava_may_keep_the_class_token() -> None:
    full = {**CONFIG, "vision_feature_select_strategy": "full"}
    (span,) = load_family("llava").locate_spans(full, [7] * 9, {}, [MediumInfo("image")])
    assert span.embedded == FEATURES + 1


@pytest.mark.parametrize("name", NAMES)
def test_images_are_split_with_and_without_an_axis_of_images(name: str) -> None:
    pixels = np.arange(2 * 3 * 4 * 4, dtype=np.float32).reshape(2, 3, 4, 4)
    images = load_family(name).split_tower_inputs(CONFIG, {"pixel_values": pixels}, ())["image"]
    np.testing.assert_array_equal([image.arrays["pixel_values"] for image in images], pixels)
    (single,) = load_family(name).split_tower_inputs(CONFIG, {"pixel_values": pixels[1]}, ())["image"]
    np.testing.assert_array_equal(single.arrays["pixel_values"], pixels[1])
    assert load_family(name).split_tower_inputs(CONFIG, {}, ()) == {}


@pytest.mark.parametrize(
    ("written", "released"),
    [
        (
            "vision_tower.encoder.layers.0.mlp.fc1.bias",
            "vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias",
        ),
        ("model.vision_tower.embeddings.x", "model.vision_tower.vision_model.embeddings.x"),
        ("vision_tower.vision_model.embeddings.x", "vision_tower.vision_model.embeddings.x"),
        ("language_model.model.embeddings.x", "language_model.model.embeddings.x"),
    ],
)
def test_tower_weights_have_the_released_names(written: str, released: str) -> None:
    assert get_released_name(written) == released
