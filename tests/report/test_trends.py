"""The page of trends: what it shows, and that names in it do nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.support.hostile_text import HOSTILE, find_page_dangers
from tests.support.verdicts import make_run_summary, make_verdict
from vlm_parity.changes.run_summary import RunSummary
from vlm_parity.changes.trends import build_trends
from vlm_parity.report.change_section import MAX_GROUPS
from vlm_parity.report.trends import format_trends, render_trends
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Verdict

pytest.importorskip("ruptures")


def make_runs(*nights: Sequence[Verdict]) -> list[RunSummary]:
    return [make_run_summary(index, *verdicts) for index, verdicts in enumerate(nights)]


def test_the_page_names_the_run_of_a_change_with_its_releases_and_the_bisection() -> None:
    before = make_verdict({}, environment={"packages": {"vllm": "0.30.0"}})
    after = make_verdict(
        {Stage.POSITIONS: 1.0},
        causes={Stage.POSITIONS: "seconds per frame"},
        environment={"packages": {"vllm": "0.31.0"}},
    )
    page = render_trends(build_trends(make_runs([before], [before], [after])))
    assert "3 runs; 1 of 2 are worse than those before them" in page
    assert "vllm 0.30.0 -&gt; 0.31.0" in page
    assert "seconds per frame" in page
    assert "parity bisect --backend vllm" in page
    assert "--from 0.30.0 --to 0.31.0" in page


def test_the_page_dates_a_step() -> None:
    nights = [[make_verdict({}, margins={Stage.VISION: margin})] for margin in (0.2, 0.2, 0.2, 0.6, 0.6)]
    page = render_trends(build_trends(make_runs(*nights)))
    assert "night-4 (2026-11-04 04:00): 0.2 -&gt; 0.6" in page
    assert 'class="step up"' in page


def test_groups_beyond_the_limit_are_counted() -> None:
    causes = [f"cause {number}" for number in range(MAX_GROUPS + 2)]
    before = [make_verdict({}, case=f"case_{number}") for number in range(len(causes))]
    after = [
        make_verdict({Stage.VISION: 9.0}, causes={Stage.VISION: cause}, case=f"case_{number}")
        for number, cause in enumerate(causes)
    ]
    assert "and 2 more groups" in render_trends(build_trends(make_runs(before, after)))


def test_no_run() -> None:
    assert format_trends(build_trends([])) == "No run."


def test_hostile_names_are_harmless() -> None:
    hostile = make_verdict(
        {Stage.POSITIONS: 1.0},
        causes={Stage.POSITIONS: HOSTILE},
        environment={"packages": {"vllm": HOSTILE}},
        reproduce="parity run --model '<script>'",
        reason=HOSTILE,
    ).model_copy(update={"model": HOSTILE})
    agrees = make_verdict({}).model_copy(update={"model": HOSTILE})
    runs = [
        make_run_summary(index, verdict, name=f"{index}{HOSTILE}", seconds={f"{HOSTILE}/load": 9.0})
        for index, verdict in enumerate((agrees, hostile))
    ]
    assert find_page_dangers(render_trends(build_trends(runs)), scripts=0) == []
