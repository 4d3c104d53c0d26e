"""How much a fault changes, measured without the reference."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tests.support.traces import ARRAYS, PREFILL, make_trace
from vlm_parity.schema.trace import Stage
from vlm_parity.selfcheck.effect import measure_effect


def changed(tmp_path: Path, stage: Stage, record: dict[str, object], **arrays: np.ndarray) -> float:
    clean, faulty = make_trace(), make_trace(**record)
    clean.write(tmp_path / "clean", ARRAYS)
    faulty.write(tmp_path / "faulty", {**ARRAYS, **arrays})
    return measure_effect(stage, clean, tmp_path / "clean", faulty, tmp_path / "faulty")


@pytest.mark.parametrize("stage", Stage)
def test_nothing_has_changed(tmp_path: Path, stage: Stage) -> None:
    assert changed(tmp_path, stage, {}) == 0


@pytest.mark.parametrize(
    ("stage", "record"),
    [
        (Stage.PROMPT, {"prompt": "x"}),
        (Stage.INPUT_IDS, {"input_ids": (1,)}),
        (Stage.GREEDY, {"greedy": (1,)}),
    ],
)
def test_what_has_to_be_equal_and_is_not(tmp_path: Path, stage: Stage, record: dict[str, object]) -> None:
    assert changed(tmp_path, stage, record) == math.inf


def test_positions_that_moved(tmp_path: Path) -> None:
    assert changed(tmp_path, Stage.POSITIONS, {}, positions=ARRAYS["positions"] + 1) == math.inf


def test_the_size_of_a_change_in_the_logits(tmp_path: Path) -> None:
    moved = np.zeros_like(PREFILL)
    moved[:, ::2] = 0.5
    found = changed(tmp_path, Stage.PREFILL, {}, prefill=PREFILL + moved)
    assert 0.2 < found < 0.5


def test_the_size_of_a_change_in_the_features(tmp_path: Path) -> None:
    assert changed(tmp_path, Stage.VISION, {}, vision=ARRAYS["vision"] + 0.25) == pytest.approx(0.25)


def test_other_shapes_are_a_change(tmp_path: Path) -> None:
    assert changed(tmp_path, Stage.PREFILL, {}, prefill=PREFILL[:-1]) == math.inf
