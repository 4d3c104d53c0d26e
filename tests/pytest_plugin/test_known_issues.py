"""Known issues of a session: expected failures, fixed issues, unused entries."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.plugin_sessions import AGAIN, BOTH, KNOWN_ISSUES, RunPytest, WriteTraces, list_failures
from tests.support.traces import IDS
from vlm_parity.report.load_run import load_run
from vlm_parity.schema.verdict import VerdictKind

pytest_plugins = ["pytester"]


@pytest.mark.usefixtures("parity", "known_issues")
def test_known_issue_passes(parity: RunPytest, earlier_run: WriteTraces, pytester: pytest.Pytester) -> None:
    earlier_run(input_ids=(*IDS[:-1], 12))
    result = parity(*AGAIN, *BOTH, "-rx")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=9, xfailed=1, skipped=2)
    result.stdout.fnmatch_lines(["XFAIL * shift: One token more. Upstream: not reported yet. *"])
    result.stdout.fnmatch_lines(["1 of 2 comparisons differs, all of them known. This run passes."])
    kinds = [entry.verdict.kind for entry in load_run(pytester.path / "run").verdicts]
    assert kinds == [VerdictKind.KNOWN, VerdictKind.MATCH]


def test_known_issues_can_be_reported_as_mismatches(
    parity: RunPytest, earlier_run: WriteTraces, known_issues: Path, pytester: pytest.Pytester
) -> None:
    earlier_run(input_ids=(*IDS[:-1], 12))
    assert list_failures(parity(*AGAIN, *BOTH, "--no-known-issues")) == [
        "test_input_ids[qwen2_vl-vllm-two_images]"
    ]
    assert list_failures(parity(*AGAIN, *BOTH, "--runxfail")) == ["test_input_ids[qwen2_vl-vllm-two_images]"]
    known_issues.rename(pytester.path / "elsewhere.toml")
    assert list_failures(parity(*AGAIN, *BOTH)) == ["test_input_ids[qwen2_vl-vllm-two_images]"]
    assert parity(*AGAIN, *BOTH, "--known-issues", "elsewhere.toml").ret == pytest.ExitCode.OK


@pytest.mark.usefixtures("parity", "known_issues")
def test_fixed_issue_fails(parity: RunPytest, earlier_run: WriteTraces) -> None:
    earlier_run()
    result = parity(*AGAIN, *BOTH)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=6, failed=6)
    result.stdout.fnmatch_lines(["fixed: no mismatch at input_ids, contrary to the known issue shift: *"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            KNOWN_ISSUES.replace("input_ids", "ids"),
            "*known_issues.toml:*: entry shift, stage: not a stage; *valid: *",
        ),
        (None, "*other.toml: no such file"),
    ],
)
def test_unreadable_known_issues_are_usage_error(
    parity: RunPytest, known_issues: Path, text: str | None, message: str
) -> None:
    if text:
        known_issues.write_text(text)
    result = parity("--backend", "vllm", *([] if text else ["--known-issues", "other.toml"]))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


@pytest.mark.usefixtures("engine")
def test_unused_known_issue_is_reported_only_if_everything_is_selected(
    parity: RunPytest, known_issues: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_issues.write_text(KNOWN_ISSUES.replace("vllm", "tiny_engine").replace("two_images", "renamed"))
    model = str(pytester.path / "tiny model")
    monkeypatch.setattr("vlm_parity.pytest_plugin.collection.get_models", lambda *_: [model])
    everything = ("--backend", "tiny_engine", "--shard", "p")
    for less in (("--case", "two_images"), ("--model", model), ("-m", "parity_text")):
        parity(*everything, *less).stdout.no_fnmatch_line("*applied to no comparison*")
    for whole in ((), ("-k", "tiny")):
        result = parity(*everything, *whole)
        assert result.ret == pytest.ExitCode.OK
        result.stdout.fnmatch_lines(["Known issue shift applied to no comparison: *"])
