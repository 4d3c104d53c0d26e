"""Changes, calendar and steps over several runs."""

from __future__ import annotations

import pytest

from tests.support.verdicts import FAILURES, make_failure, make_run_summary, make_verdict
from vlm_parity.changes.classify import ChangeClass
from vlm_parity.changes.comparison import State
from vlm_parity.changes.run_summary import RunSummary
from vlm_parity.changes.trends import build_trends
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Verdict

pytest.importorskip("ruptures")

AGREES = make_verdict({})
DIFFERS = make_verdict({Stage.VISION: 50.0}, causes={Stage.VISION: "GELU"})
CRASHED = make_failure(FAILURES[0])
CELL = (AGREES.model, AGREES.label)


def make_runs(*nights: list[Verdict]) -> list[RunSummary]:
    return [make_run_summary(index, *verdicts) for index, verdicts in enumerate(nights)]


def test_no_run() -> None:
    trends = build_trends([])
    assert trends.nights == ()
    assert trends.calendar == {}


def test_a_change_is_dated_to_its_run() -> None:
    trends = build_trends(make_runs([AGREES], [AGREES], [DIFFERS], [DIFFERS], [AGREES]))
    kinds = [[change.kind for change in night.changes] for night in trends.nights]
    assert kinds == [[], [], [ChangeClass.NEW], [], [ChangeClass.FIXED]]
    assert [night.is_worse for night in trends.nights] == [False, False, True, False, False]


def test_the_calendar_counts_results_and_changes_by_run() -> None:
    trends = build_trends(make_runs([AGREES], [], [DIFFERS]))
    cells = trends.calendar[CELL]
    assert sorted(cells) == [0, 2]
    assert cells[0].state is State.AGREES
    assert cells[2].state is State.DIFFERS
    assert (cells[2].worse, cells[2].better) == (1, 0)


def test_a_comparison_is_compared_with_the_latest_run_that_holds_it() -> None:
    """A night without it, such as after a lost shard, does not make an old difference an added one."""
    trends = build_trends(make_runs([DIFFERS], [], [DIFFERS], [AGREES]))
    assert [[change.kind for change in night.changes] for night in trends.nights[1:]] == [
        [],
        [],
        [ChangeClass.FIXED],
    ]


def test_a_crash_is_a_lost_comparison_and_then_restored() -> None:
    trends = build_trends(make_runs([AGREES], [CRASHED], [AGREES]))
    kinds = [change.kind for night in trends.nights for change in night.changes]
    assert kinds == [ChangeClass.LOST, ChangeClass.RESTORED]


def test_an_edited_case_is_a_new_comparison() -> None:
    edited = make_verdict({Stage.VISION: 50.0}, case_digest="edited")
    (change,) = build_trends(make_runs([AGREES], [edited])).nights[1].changes
    assert change.kind is ChangeClass.EDITED


def test_a_step_of_a_distance_is_dated_though_the_limit_is_not_crossed() -> None:
    margins = [0.2, 0.21, 0.2, 0.6, 0.62, 0.61]
    nights = [[make_verdict({}, margins={Stage.VISION: margin})] for margin in margins]
    (series,) = build_trends(make_runs(*nights)).margins
    assert series.point == Stage.VISION
    (step,) = series.steps
    assert step.index == 3
    assert step.before == pytest.approx(0.2, rel=0.1)


def test_a_step_is_dated_by_run_though_runs_lack_the_comparison() -> None:
    nights: list[list[Verdict]] = [
        [] if margin is None else [make_verdict({}, margins={Stage.VISION: margin})]
        for margin in (0.2, None, 0.2, None, 0.6, 0.6)
    ]
    (series,) = build_trends(make_runs(*nights)).margins
    assert [step.index for step in series.steps] == [4]


def test_distances_far_below_the_limit_are_no_trend() -> None:
    nights = [[make_verdict({}, margins={Stage.VISION: margin})] for margin in (0.001, 0.001, 0.05, 0.05)]
    assert build_trends(make_runs(*nights)).margins == ()


def test_times_of_engine_loads_have_steps() -> None:
    seconds = [10.0, 10.5, 10.2, 15.0, 15.3, 15.1]
    runs = [
        make_run_summary(index, AGREES, seconds={"qwen2_vl/vllm/load": value, "session": 1.0})
        for index, value in enumerate(seconds)
    ]
    (series,) = build_trends(runs).times
    assert (series.title, series.point) == ("qwen2_vl/vllm", "load")
    assert [step.index for step in series.steps] == [3]
