"""DeepSeek-VL: each image has the same number of positions."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.models.families.base import MediumInfo
from vlm_parity.models.registry import load_family

IMAGE, WORD = 5, 9
CONFIG = {"image_token_id": IMAGE, "vision_config": {"image_size": 32, "patch_size": 16}}
POSITIONS = 4
FAMILY = load_family("deepseek_vl")


@given(words=st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_images_have_their_positions_in_order(words: list[int]) -> None:
    ids = [token for count in words for token in [WORD] * count + [IMAGE] * POSITIONS]
    spans = FAMILY.locate_spans(CONFIG, ids, {}, [MediumInfo("image")] * len(words))
    assert [span.embedded for span in spans] == [POSITIONS] * len(words)
    places = [position for span in spans for position in span.positions]
    assert places == [place for place, token in enumerate(ids) if token == IMAGE]


def test_images_are_split_with_and_without_an_axis_of_images() -> None:
    pixels = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 2, 2)
    images = FAMILY.split_tower_inputs(CONFIG, {"pixel_values": pixels}, ())["image"]
    assert [item.arrays["pixel_values"].tolist() for item in images] == pixels.tolist()
    (only,) = FAMILY.split_tower_inputs(CONFIG, {"pixel_values": pixels[1]}, ())["image"]
    assert only.arrays["pixel_values"].tolist() == pixels[1].tolist()


def test_text_has_no_media() -> None:
    assert FAMILY.locate_spans(CONFIG, [WORD], {}, []) == ()
    assert FAMILY.split_tower_inputs(CONFIG, {"input_ids": np.zeros((1, 3))}, ()) == {}
