"""Descriptions of the sources of media."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.traces import ENCODER_BUDGET
from vlm_parity.report.case_media import format_recipe
from vlm_parity.schema.case import ImagePart, VideoPart
from vlm_parity.schema.trace import EncoderBudget

GRADIENT = {"pattern": "gradient", "size": [8, 6]}


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (GRADIENT, "gradient, 8 × 6, seed 0"),
        (
            {**GRADIENT, "encoded": {"format": "jpeg", "orientation": 6}},
            "gradient, 8 × 6, seed 0, JPEG file, RGB, EXIF orientation 6, decoded by each side",
        ),
        ({"file": "a.png"}, "file a.png"),
        ({"file": "a.png", "encoded": True}, "file a.png, decoded by each side"),
    ],
)
def test_images(image: dict[str, Any], words: str) -> None:
    assert format_recipe(ImagePart.model_validate({"image": image})) == words


@pytest.mark.parametrize(
    ("reserved", "words"),
    [
        (None, "the largest image of the encoder budget"),
        (ENCODER_BUDGET, "the largest image of the encoder budget: 56 x 56"),
    ],
)
def test_the_largest_of_an_engine(reserved: EncoderBudget | None, words: str) -> None:
    assert format_recipe(ImagePart.model_validate({"image": {"max_size": True}}), reserved) == words


@pytest.mark.parametrize(
    ("encoded", "words"),
    [
        ({}, "MP4 file, mpeg4, decoded by each side"),
        ({"codec": "h264", "timestamps": [0, 1]}, "MP4 file, h264, variable rate, decoded by each side"),
    ],
)
def test_videos(encoded: dict[str, Any], words: str) -> None:
    shard = VideoPart.model_validate({"video": {**GRADIENT, "frames": 2, "encoded": encoded}})
    assert format_recipe(shard) == f"gradient, 8 × 6, 2 frames at 2 a second, seed 0, {words}"
