"""The effect of a fault, measured without the reference."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.traces import ARRAYS, PREFILL, make_trace
from vlm_parity.schema.trace import Stage
from vlm_parity.selfcheck.effect import measure_effect


def measure_change(tmp_path: Path, stage: Stage, record: dict[str, Any], **arrays: np.ndarray) -> float:
    clean, faulty = make_trace(), make_trace(**record)
    clean.write(tmp_path / "clean", ARRAYS)
    faulty.write(tmp_path / "faulty", {**ARRAYS, **arrays})
    return measure_effect(stage, clean, tmp_path / "clean", faulty, tmp_path / "faulty")


@pytest.mark.parametrize("stage", Stage)
def test_equal_traces_have_no_effect(tmp_path: Path, stage: Stage) -> None:
    assert measure_change(tmp_path, stage, {}) == 0


@pytest.mark.parametrize(
    ("stage", "record"),
    [
        (Stage.PROMPT, {"prompt": "x"}),
        (Stage.INPUT_IDS, {"input_ids": (1,)}),
        (Stage.GREEDY, {"greedy": (1,)}),
    ],
)
def test_an_exact_stage_that_differs_is_infinite(
    tmp_path: Path, stage: Stage, record: dict[str, Any]
) -> None:
    assert measure_change(tmp_path, stage, record) == math.inf


def test_different_positions_are_infinite(tmp_path: Path) -> None:
    assert measure_change(tmp_path, Stage.POSITIONS, {}, positions=ARRAYS["positions"] + 1) == math.inf


def test_the_effect_on_logits(tmp_path: Path) -> None:
    moved = np.zeros_like(PREFILL)
    moved[:, ::2] = 0.5
    effect = measure_change(tmp_path, Stage.PREFILL, {}, prefill=PREFILL + moved)
    assert 0.2 < effect < 0.5


def test_the_effect_on_features(tmp_path: Path) -> None:
    assert measure_change(tmp_path, Stage.VISION, {}, vision=ARRAYS["vision"] + 0.25) == pytest.approx(0.25)


def test_different_shapes_are_infinite(tmp_path: Path) -> None:
    assert measure_change(tmp_path, Stage.PREFILL, {}, prefill=PREFILL[:-1]) == math.inf
