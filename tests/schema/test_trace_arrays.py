"""The arrays of a trace: read a few rows at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.support.traces import ARRAYS, DECODE, PREFILL, make_trace
from vlm_parity.schema.trace_arrays import open_arrays


def test_rows_and_shapes_are_those_that_were_written(tmp_path: Path) -> None:
    make_trace().write(tmp_path, ARRAYS)
    with open_arrays(tmp_path) as file:
        assert file is not None
        assert "prefill" in file
        assert "nothing" not in file
        assert file.shape("decode") == DECODE.shape
        np.testing.assert_array_equal(file.rows("prefill", 2, 5), PREFILL[2:5])


def test_a_trace_without_arrays_has_none(tmp_path: Path) -> None:
    make_trace().write(tmp_path)
    with open_arrays(tmp_path) as file:
        assert file is None
