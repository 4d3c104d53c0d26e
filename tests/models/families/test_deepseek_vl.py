"""DeepSeek-VL: every picture takes as many positions."""

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
def test_pictures_take_their_positions_in_order(words: list[int]) -> None:
    """However many words stand before each picture."""
    ids = [token for count in words for token in [WORD] * count + [IMAGE] * POSITIONS]
    spans = FAMILY.spans(CONFIG, ids, {}, [MediumInfo("image")] * len(words))
    assert [span.embedded for span in spans] == [POSITIONS] * len(words)
    places = [position for span in spans for position in span.positions]
    assert places == [at for at, token in enumerate(ids) if token == IMAGE]


def test_pictures_are_told_apart_with_and_without_an_axis_of_pictures() -> None:
    pixels = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 2, 2)
    pictures = FAMILY.tower_inputs(CONFIG, {"pixel_values": pixels}, ())["image"]
    assert [item.arrays["pixel_values"].tolist() for item in pictures] == pixels.tolist()
    (only,) = FAMILY.tower_inputs(CONFIG, {"pixel_values": pixels[1]}, ())["image"]
    assert only.arrays["pixel_values"].tolist() == pixels[1].tolist()


def test_text_has_no_media() -> None:
    assert FAMILY.spans(CONFIG, [WORD], {}, []) == ()
    assert FAMILY.tower_inputs(CONFIG, {"input_ids": np.zeros((1, 3))}, ()) == {}
