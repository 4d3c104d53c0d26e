"""Values of traces by the names under which a replay states them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.traces import IDS, IMAGE_PAD, make_trace
from vlm_parity.replay.values import check_name, expand_expected, format_values, read_values
from vlm_parity.util.errors import MissingValueError

POSITIONS = np.array([[0, 1, 2, 2], [0, 1, 2, 3], [0, 1, 2, 4]])
EMPTY = Path("there-is-none")


def test_ids_of_a_piece() -> None:
    assert read_values("input_ids[3:7]", make_trace(), EMPTY) == (IMAGE_PAD,) * 4
    assert read_values("input_ids", make_trace(), EMPTY) == IDS
    assert read_values("prompt_tokens", make_trace(), EMPTY) == (len(IDS),)


def test_positions_of_an_axis(tmp_path: Path) -> None:
    make_trace(arrays=("positions",)).write(tmp_path, {"positions": POSITIONS})
    assert read_values("positions.width[1:]", make_trace(), tmp_path) == (1, 2, 4)
    assert read_values("positions.time[::2]", make_trace(), tmp_path) == (0, 2)


def test_text_positions_are_the_same_on_every_axis(tmp_path: Path) -> None:
    make_trace(arrays=("positions",)).write(tmp_path, {"positions": POSITIONS[:1]})
    assert read_values("positions.height", make_trace(), tmp_path) == (0, 1, 2, 2)


def test_what_a_trace_has_not_is_said() -> None:
    with pytest.raises(MissingValueError, match="has no positions"):
        read_values("positions.time", make_trace(), EMPTY)


@pytest.mark.parametrize("name", ["ids[1:2]", "positions[1:2]", "input_ids[1]", "input_ids[1:2"])
def test_a_name_that_names_nothing_is_refused(name: str) -> None:
    with pytest.raises(MissingValueError, match="is none of"):
        check_name(name)


def test_one_number_stands_for_all() -> None:
    assert expand_expected(7, 3) == (7, 7, 7)
    assert expand_expected((1, 2), 3) == (1, 2)


def test_values_are_short_to_read() -> None:
    assert format_values((151655,) * 88) == "151655 x 88"
    assert format_values((1, 2.5)) == "1, 2.5"
    assert format_values(tuple(range(20))).endswith("10, 11, ... (20 in all)")
