"""A report with a baseline: the section of the index, the column of the table, the note of a case page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.report.conftest import RunBuilder
from tests.support.hostile_text import HOSTILE, find_page_dangers
from tests.support.verdicts import make_verdict
from vlm_parity.changes.run_summary import RunSummary
from vlm_parity.report.html import write_report
from vlm_parity.report.load_run import load_run
from vlm_parity.report.run_changes import Onset, RunChanges
from vlm_parity.report.run_comparison import compare_runs
from vlm_parity.report.summarize_run import summarize_run
from vlm_parity.schema.trace import Stage

AGREES = make_verdict(case="one_image")
DIFFERS = make_verdict({Stage.VISION: 9.0}, causes={Stage.VISION: "GELU"}, case="one_image")
OTHER = make_verdict({Stage.PREFILL: 9.0}, case="two_images")


@pytest.fixture
def baseline(tmp_path: Path) -> RunSummary:
    builder = RunBuilder(tmp_path / "yesterday")
    builder.shard(AGREES, OTHER)
    return summarize_run(load_run(builder.folder))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    builder = RunBuilder(tmp_path / "today")
    builder.shard(DIFFERS, OTHER)
    return builder.folder


def read_case(folder: Path, case: str) -> str:
    (page,) = (entry.page for entry in load_run(folder).verdicts if entry.verdict.case == case)
    return (folder / page).read_text(encoding="utf-8")


def test_changes_are_the_first_section_of_the_index(folder: Path, baseline: RunSummary) -> None:
    run = load_run(folder)
    index = write_report(run, RunChanges(compare_runs(baseline, summarize_run(run), 2.0)))
    page = index.read_text(encoding="utf-8")
    section = page.partition("<main>")[2].partition("</section>")[0]
    assert "Changes since the baseline" in section
    assert "2 comparisons: 1 new difference, 1 unchanged; 1 of them worse than in the baseline" in section
    assert "baseline yesterday" in section
    assert "GELU" in section
    assert "Against yesterday: new difference: differs at vision." in read_case(folder, "one_image")
    assert "It differs since yesterday or earlier" in read_case(folder, "two_images")
    assert '"change"' in (folder / "data" / "verdicts.js").read_text()


def test_a_difference_is_dated_to_its_onset(folder: Path, baseline: RunSummary) -> None:
    run = load_run(folder)
    summary = summarize_run(run)
    onsets = {
        each.identity: Onset("night-3", "2026-11-03T04:00:00+00:00")
        for each in summary.comparisons
        if each.identity.case == "two_images"
    }
    write_report(run, RunChanges(compare_runs(baseline, summary, 2.0), onsets))
    assert "unchanged. It differs since night-3 (2026-11-03)." in read_case(folder, "two_images")


def test_without_a_baseline_there_is_no_section(folder: Path) -> None:
    page = write_report(load_run(folder)).read_text(encoding="utf-8")
    assert "Changes since the baseline" not in page
    assert "Against" not in read_case(folder, "one_image")


def test_hostile_names_of_a_baseline_are_harmless(folder: Path, baseline: RunSummary) -> None:
    run = load_run(folder)
    hostile = replace(baseline, name=HOSTILE, origin=HOSTILE, own_problems=(HOSTILE,))
    index = write_report(run, RunChanges(compare_runs(hostile, summarize_run(run), 2.0)))
    assert find_page_dangers(index.read_text(encoding="utf-8"), scripts=2) == []
    assert find_page_dangers(read_case(folder, "one_image"), scripts=1) == []
