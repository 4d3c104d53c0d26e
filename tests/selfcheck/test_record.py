"""When the self-check passes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.selfcheck_records import check, fault
from vlm_parity.selfcheck.record import joined


def test_it_passes_where_everything_is_found() -> None:
    assert check().passes


@pytest.mark.parametrize(
    "missed",
    [{"detected": False, "stage_right": False, "cause_right": False}, {"stage_right": False},
     {"cause_right": False}, {"visible": False}],
)  # fmt: skip
def test_one_fault_that_is_not_as_it_has_to_be_is_enough_in_float32(missed: dict[str, bool]) -> None:
    assert not check(fault(), fault(**missed)).passes
    assert check(fault(), fault(dtype="bfloat16", **missed)).passes


@pytest.mark.parametrize(
    "changes",
    [
        {"false_alarms": 1},
        {"clean_comparisons": 0},
        {"finished_engines": 0},
        {"problems": ("vllm did not load",)},
        {"faults": ()},
        {"faults": (fault(dtype="bfloat16"),)},
    ],
)
def test_what_else_keeps_it_from_passing(changes: dict[str, Any]) -> None:
    assert not check(**changes).passes


def test_environments_add_up() -> None:
    both = joined(
        [
            check(packages={"vllm": "1", "torch": "3"}),
            check(fault(backend="lmdeploy"), packages={"lmdeploy": "2", "torch": "4"}),
        ]
    )
    assert [row.backend for row in both.faults] == ["vllm", "lmdeploy"]
    assert (both.clean_comparisons, both.expected_engines, both.seconds) == (54, 2, 120)
    assert both.packages == {"vllm": "1", "lmdeploy": "2", "torch": "3 and 4"}
    assert both.passes


def test_one_environment_that_fails_fails_them_all() -> None:
    assert not joined([check(), check(false_alarms=1)]).passes


def test_nothing_does_not_pass() -> None:
    assert not joined([]).passes
