"""Tower inputs split by medium with a family, and the reason if there is none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vlm_parity.backends.base import CapturedMedium
from vlm_parity.backends.common.tower_inputs import TowerInputs, sort_by_spans
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.trace import Span, Stage
from vlm_parity.util.errors import PrivateApiChangedError

INPUTS = {"pixel_values": np.zeros((12, 2), np.float32), "image_grid_thw": np.array([[1, 2, 4], [1, 2, 2]])}
ONE = {"pixel_values": np.zeros((8, 2), np.float32), "image_grid_thw": np.array([1, 2, 4])}


def make_tower(folder: Path, family: str = "qwen2_vl") -> TowerInputs:
    (folder / "config.json").write_text(json.dumps({"model_type": family}), encoding="utf-8")
    return TowerInputs(Checkpoint("any", family, folder, "any", ""))


def test_all_media_of_a_case_are_split(tmp_path: Path) -> None:
    media = make_tower(tmp_path).media(INPUTS, ())
    assert [(m.modality, m.item, m.fields["grid"]) for m in media] == [
        ("image", 0, (1, 2, 4)),
        ("image", 1, (1, 2, 2)),
    ]


def test_one_medium_has_the_requested_index(tmp_path: Path) -> None:
    medium = make_tower(tmp_path).medium("image", 3, ONE, ())
    assert (medium.item, medium.fields) == (3, {"grid": (1, 2, 4)})
    assert medium.arrays["pixel_values"].shape == (8, 2)


@pytest.mark.parametrize("inputs", [{}, {"patches": ONE["pixel_values"]}, INPUTS])
def test_an_error_lists_unknown_names(tmp_path: Path, inputs: dict[str, np.ndarray]) -> None:
    with pytest.raises(
        PrivateApiChangedError, match=f"cannot read one image from {', '.join(sorted(inputs))}"
    ):
        make_tower(tmp_path).medium("image", 0, inputs, ())


def test_media_of_a_model_without_a_family_are_not_captured(tmp_path: Path) -> None:
    unknown = make_tower(tmp_path, "unknown")
    assert unknown.not_captured == {Stage.MEDIA: "no family is registered for model_type 'unknown'"}
    with pytest.raises(ValueError, match="no family is registered"):
        unknown.media(INPUTS, ())


def test_media_are_sorted_by_their_spans() -> None:
    image = CapturedMedium("image", 0, {}, {})
    media = [image, replace(image, item=1), replace(image, modality="video"), replace(image, item=7)]
    spans = (
        Span.of("video", 0, [1]),
        Span.of("image", 0, [3]),
        Span.of("image", 1, [5]),
    )
    ordered = sort_by_spans(media, spans)
    assert [(m.modality, m.item) for m in ordered] == [("video", 0), ("image", 0), ("image", 1), ("image", 7)]
