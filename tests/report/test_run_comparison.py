"""Two run folders compared: fuzz findings, JSON, JUnit, and hostile text in every output."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from tests.support.hostile_text import (
    HOSTILE,
    find_markdown_dangers,
    find_terminal_dangers,
    is_command,
    poison,
)
from vlm_parity.changes.classify import ChangeClass
from vlm_parity.report.comparison_markdown import render_comparison, render_gate
from vlm_parity.report.comparison_terminal import print_comparison, print_gate
from vlm_parity.report.gate_junit import list_annotations, render_junit
from vlm_parity.report.run_comparison import (
    RunComparison,
    build_comparison_json,
    build_gate_json,
    compare_runs,
    gate_run,
)
from vlm_parity.report.summarize_run import read_run_summary
from vlm_parity.schema.fuzz_findings import FUZZ_FILE, FuzzFinding, FuzzRecord
from vlm_parity.schema.record import read_record, write_record
from vlm_parity.schema.run import Shard
from vlm_parity.schema.run_layout import SHARD_RECORD
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Verdict, VerdictKind
from vlm_parity.util.text import format_annotation

if TYPE_CHECKING:
    from tests.report.conftest import RunBuilder


@pytest.fixture
def sample(builder: RunBuilder) -> Path:
    """Write a run with verdicts of most kinds."""
    return builder.sample()


@pytest.fixture
def hostile(builder: RunBuilder, records: ModuleType, tmp_path: Path) -> RunComparison:
    """Compare two runs with hostile text in every field: a match and a crash, then a mismatch alone."""
    prefill = records.logits(Stage.PREFILL, [0.5], first=0)
    runs = {
        "before": [records.verdict(), records.silent(VerdictKind.CRASH, "signal", case="far")],
        "after": [records.verdict(VerdictKind.MISMATCH, prefill, diagnoses=records.DIAGNOSES)],
    }
    loaded = []
    for name, verdicts in runs.items():
        packages = {"torch": name}
        folder = type(builder)(tmp_path / name).shard(
            *(
                each.model_copy(
                    update={
                        "tested": each.tested.model_copy(
                            update={"environment": records.environment(packages=packages)}
                        )
                    }
                )
                for each in verdicts
            )
        )
        for path in folder.glob("verdicts/**/*.json"):
            write_record(path, poison(read_record(path, Verdict), "packages", "case_digest"))
        write_record(folder / SHARD_RECORD, poison(read_record(folder / SHARD_RECORD, Shard)))
        loaded.append(read_run_summary(tmp_path / name))
    return compare_runs(loaded[0], loaded[1], 2)


def test_a_run_against_itself(sample: Path) -> None:
    run = read_run_summary(sample)
    comparison = compare_runs(run, run, 2)
    assert {change.kind for change in comparison.changes} <= {
        ChangeClass.UNCHANGED,
        ChangeClass.NOT_COMPARED,
    }
    assert comparison.environment == ()
    assert not any(change.is_worse for change in comparison.changes)
    document = build_comparison_json(comparison)
    assert document["counts"]["all"] == len(run.comparisons) == sum(document["counts"].values()) / 2


def test_findings_of_the_baseline_that_were_not_found_again_are_no_loss(
    builder: RunBuilder, records: ModuleType, tmp_path: Path
) -> None:
    prefill = records.logits(Stage.PREFILL, [0.5], first=0)
    found = records.verdict(VerdictKind.MISMATCH, prefill, case="found")
    finding = FuzzFinding(
        model=found.model, backend=found.backend, failed_property="prefill", cause="", case="found",
        shard="vllm", kind=VerdictKind.MISMATCH, message="m", seed=1, examples=2, reproduce="r",
    )  # fmt: skip
    folder = builder.shard(found, records.verdict())
    write_record(folder / FUZZ_FILE, FuzzRecord(findings=(finding,)))
    other = type(builder)(tmp_path / "other")
    other.shard(records.verdict())
    before, after = read_run_summary(builder.folder), read_run_summary(other.folder)
    assert [change.kind for change in compare_runs(before, after, 2).changes] == [ChangeClass.UNCHANGED]
    assert [change.kind for change in compare_runs(before, before, 2).changes] == [ChangeClass.UNCHANGED] * 2
    changes = compare_runs(after, before, 2).changes
    assert {change.kind: change.is_worse for change in changes}[ChangeClass.ADDED], "a new finding"


def test_the_comparison_is_hostile(hostile: RunComparison) -> None:
    assert {change.kind for change in hostile.changes} == {ChangeClass.NEW, ChangeClass.REMOVED}
    assert hostile.environment
    assert HOSTILE.split()[0] in hostile.changes[0].title


@pytest.mark.parametrize("colored", [False, True])
def test_terminal(hostile: RunComparison, colored: bool) -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=colored, width=80)
    print_comparison(hostile, console)
    print_gate(hostile, gate_run(hostile), console)
    assert find_terminal_dangers(output.getvalue(), colored=colored) == []
    assert "set-output" in output.getvalue(), "it is shown, but not active"


def test_markdown(hostile: RunComparison) -> None:
    for text in (render_comparison(hostile), render_gate(hostile, gate_run(hostile))):
        assert find_markdown_dangers(text) == []
        assert "octocat" in text


def test_annotations_are_one_command_each(hostile: RunComparison) -> None:
    lines = [format_annotation(*each) for each in list_annotations(gate_run(hostile))]
    for line in lines:
        assert line.isprintable()
        start, properties, message = line.split("::", 2)
        assert start == ""
        assert properties.startswith(("error title=", "warning title="))
        assert properties.count(",") == 0
        assert not is_command(message)
    assert len(lines) >= len(hostile.changes)


def test_junit_is_well_formed_and_has_a_test_for_each_comparison(hostile: RunComparison) -> None:
    result = gate_run(hostile)
    content = render_junit(result)
    (suite,) = ET.fromstring(content)  # noqa: S314 (our own document)
    tests = suite.findall("testcase")
    of_the_run = [reason for reason in result.reasons if not reason.changes]
    assert len(tests) == len(result.changes) + len(of_the_run) == int(suite.attrib["tests"])
    assert sum(test.find("failure") is not None for test in tests) == int(suite.attrib["failures"])
    assert all(line.isprintable() for line in content.decode().splitlines())


def test_json_is_plain_data(hostile: RunComparison) -> None:
    result = gate_run(hostile)
    document = json.loads(json.dumps(build_gate_json(hostile, result), allow_nan=False))
    assert document["passes"] is False
    assert document["comparison"] == json.loads(json.dumps(build_comparison_json(hostile)))
