"""The noise floor as it lies on the disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.traces import FLOOR
from vlm_parity.schema.noise_floor import (
    FLOOR_RECORD,
    FloorRecord,
    NoiseFloor,
    get_floor_folder,
    read_noise_floor,
)
from vlm_parity.util.errors import RecordError


def test_a_floor_is_read_as_it_was_written(tmp_path: Path) -> None:
    FLOOR.write(get_floor_folder(tmp_path, "float32"))
    found = read_noise_floor(tmp_path, "float32")
    assert found is not None
    assert found.record == FLOOR.record
    assert found.stages.keys() == FLOOR.stages.keys()
    for stage, noise in FLOOR.stages.items():
        np.testing.assert_array_equal(found.stages[stage].rms, noise.rms)
        np.testing.assert_array_equal(found.stages[stage].largest, noise.largest)


def test_the_floor_of_one_dtype_is_not_that_of_another(tmp_path: Path) -> None:
    FLOOR.write(get_floor_folder(tmp_path, "float32"))
    assert read_noise_floor(tmp_path, "bfloat16") is None


def test_a_floor_that_could_not_be_measured_says_why(tmp_path: Path) -> None:
    NoiseFloor(FloorRecord(truth="float64", dtype="float16", problem="no memory"), {}).write(
        get_floor_folder(tmp_path, "float16")
    )
    found = read_noise_floor(tmp_path, "float16")
    assert found is not None
    assert (found.record.problem, found.stages) == ("no memory", {})


def test_a_record_that_is_not_one_is_reported(tmp_path: Path) -> None:
    FLOOR.write(get_floor_folder(tmp_path, "float32"))
    (get_floor_folder(tmp_path, "float32") / FLOOR_RECORD).write_text("{}")
    with pytest.raises(RecordError, match=FLOOR_RECORD):
        read_noise_floor(tmp_path, "float32")
