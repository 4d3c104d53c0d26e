"""A run with hostile text in every field of every record, in every output."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from tests.support.hostile_text import (
    HOSTILE,
    find_markdown_dangers,
    find_page_dangers,
    find_terminal_dangers,
    poison,
)
from tests.support.selfcheck_records import make_control_row, make_fault_row, make_selfcheck
from vlm_parity.check.result import print_result
from vlm_parity.fuzz.page import write_fuzz_page
from vlm_parity.releases.answer import ReleaseAnswer
from vlm_parity.releases.history import History
from vlm_parity.releases.page import print_history, write_history
from vlm_parity.report.html import write_report
from vlm_parity.report.issue import build_issue
from vlm_parity.report.load_run import LoadedRun, load_run
from vlm_parity.report.matrix_markdown import render_markdown
from vlm_parity.report.terminal import print_summary
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.fuzz_findings import FUZZ_FILE, FuzzFinding, FuzzRecord, FuzzSummary
from vlm_parity.schema.location import ComparedModule, Location, ModuleDifference
from vlm_parity.schema.record import read_record, write_record
from vlm_parity.schema.run import Shard
from vlm_parity.schema.run_layout import SELFCHECK_RECORD, SHARD_RECORD
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Verdict, VerdictKind
from vlm_parity.selfcheck import markdown as selfcheck_markdown
from vlm_parity.selfcheck.cause_grade import CauseGrade
from vlm_parity.selfcheck.page import print_selfcheck, write_selfcheck_page

if TYPE_CHECKING:
    from tests.report.conftest import RunBuilder

Print = Callable[[Console], None]
SCRIPTS = {"index.html": 2, "cases": 1}
"""The scripts of a page, or of each page in a folder; the others have none."""


_LOCATION = Location(
    stages=(Stage.PREFILL,),
    differences=(
        ModuleDifference(
            module="m", class_path="a.B", point="input x", made_of=("m",), engine_module="e",
            engine_class_path="c.D", distance=1, noise=0.1, limit_ratio=9, pattern="p", cause="c",
        ),
    ),
    modules=(ComparedModule(module="m", class_path="a.B", status="differs"),),
)  # fmt: skip


@pytest.fixture
def run(builder: RunBuilder, records: ModuleType) -> LoadedRun:
    """Write a run with verdicts of most kinds, then poison all its records."""
    folder = builder.sample()
    rounded = records.logits(Stage.PREFILL, [0.5], first=0)
    located = records.verdict(VerdictKind.MISMATCH, rounded, diagnoses=records.DIAGNOSES)
    builder.shard(located.model_copy(update={"locations": (_LOCATION,)}), name="more")
    for path in sorted(folder.glob("shards/*/verdicts/**/*.json")):
        if path.stem.startswith(("one_image_", "two_images_")):
            path.unlink()  # matches, of which one is enough
        else:
            write_record(path, poison(read_record(path, Verdict)))
    for path in sorted(folder.glob(f"shards/*/{SHARD_RECORD}")):
        write_record(path, poison(read_record(path, Shard)))
    _write_fuzz_record(folder / "shards" / "more" / FUZZ_FILE)
    for log in folder.glob("shards/*/logs/*.log"):
        log.write_text(HOSTILE)
    (folder / "shards" / "more" / "verdicts" / "broken.json").write_text(json.dumps({"case": HOSTILE}))
    return load_run(folder)


def _write_fuzz_record(path: Path) -> None:
    fuzzed = FuzzSummary(
        model="m", backend="b", fault="f", profile="ci", seed=1, problem="p", packages={"p": "1"}
    )
    finding = FuzzFinding(
        model="m", backend="b", failed_property="prompt", cause="c", case="c", shard="s", reproduce="r",
        kind=VerdictKind.MISMATCH, message="m", known="k", seed=1, examples=2, not_shrunk_reason="n",
    )  # fmt: skip
    write_record(path, poison(FuzzRecord(fuzzed=(fuzzed,), findings=(finding,))))


def _print(function: Print, *, colored: bool) -> str:
    output = io.StringIO()
    function(Console(file=output, force_terminal=colored, width=80))
    return output.getvalue()


def test_the_records_are_hostile(run: LoadedRun) -> None:
    first = run.verdicts[0].verdict
    assert HOSTILE in {first.model, first.reason, first.tested.message}
    assert first.tested.environment.platform == HOSTILE
    assert any(HOSTILE in key for key in first.tested.environment.packages)


def test_pages(run: LoadedRun) -> None:
    write_report(run)
    write_fuzz_page(run)
    pages = sorted(run.folder.rglob("*.html"))
    assert len(pages) > len(run.verdicts)
    for page in pages:
        text = page.read_text(encoding="utf-8")
        scripts = SCRIPTS.get(page.name, SCRIPTS.get(page.parent.name, 0))
        assert find_page_dangers(text, scripts) == [], page.name


@pytest.mark.parametrize("colored", [False, True])
def test_terminal(run: LoadedRun, colored: bool) -> None:
    texts = [
        _print(lambda console: print_summary(run, console), colored=colored),
        _print(lambda console: print_result(run, Depth.LOGITS, {HOSTILE: HOSTILE}, console), colored=colored),
    ]
    assert [find_terminal_dangers(text, colored=colored) for text in texts] == [[], []]
    assert all("set-output" in text for text in texts), "it is shown, but not active"


def test_matrix_document(run: LoadedRun) -> None:
    assert find_markdown_dangers(render_markdown(run)) == []


def test_issue_texts(run: LoadedRun, records: ModuleType) -> None:
    case = poison(records.case("one"))
    for entry in run.verdicts:
        issue = build_issue(entry, case)
        assert find_markdown_dangers(issue) == [], entry.verdict.kind
        assert "octocat" in issue


def test_report_file_is_data(run: LoadedRun) -> None:
    write_report(run)
    document = json.loads((run.folder / "report.json").read_text(encoding="utf-8"))
    assert HOSTILE in {verdict["reason"] for verdict in document["verdicts"]}


@pytest.mark.parametrize("colored", [False, True])
def test_selfcheck(tmp_path: Path, colored: bool) -> None:
    record = make_selfcheck(
        make_fault_row(grade=CauseGrade.WRONG, visible=True),
        make_fault_row(visible=False),
        controls=(make_control_row(false_alarms=1, messages=("m",)),),
        problems=("p",),
        packages={"torch": "1"},
        false_alarms=1,
    )
    write_record(tmp_path / "shards" / "a" / SELFCHECK_RECORD, poison(record, "dtype"))
    check = write_selfcheck_page(tmp_path)
    assert find_page_dangers((tmp_path / "selfcheck.html").read_text(), 0) == []
    text = _print(lambda console: print_selfcheck(check, tmp_path, console), colored=colored)
    assert find_terminal_dangers(text, colored=colored) == []
    assert find_markdown_dangers(selfcheck_markdown.render_markdown(check)) == []


@pytest.mark.parametrize("colored", [False, True])
def test_history(tmp_path: Path, colored: bool) -> None:
    answers = (
        ReleaseAnswer(backend="b", release="r", model="m", case="c", problem="p"),
        ReleaseAnswer(
            backend="b", release="r", model="m", case="d", kind=VerdictKind.MISMATCH, stage=Stage.PROMPT,
            cause="c", reason="r", packages={"transformers": "5"},
        ),
    )  # fmt: skip
    history = poison(
        History(
            title="t", command="c", backend="b", varied_package="v", fixed_versions={"f": "1"}, model="m",
            cases=("c", "d"), releases=("r",), answers=answers, expected=1, result="x",
        )
    )  # fmt: skip
    write_history(tmp_path, history)
    assert find_page_dangers((tmp_path / "history.html").read_text(), 0) == []
    text = _print(lambda console: print_history(history, tmp_path, console), colored=colored)
    assert find_terminal_dangers(text, colored=colored) == []
    assert "octocat" in text
