"""Trifles: what a session needs is checked before the first engine loads, or costs a warning."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.plugin_sessions import AGAIN, BOTH, RunPytest, WriteTraces, count_loads
from vlm_parity.report.load_run import load_run
from vlm_parity.util.environment_variables import CACHE_LIMIT_VARIABLE, CACHE_VARIABLE

pytest_plugins = ["pytester"]

ONE = ("-k", "text_only and spans")
"""Options that select one test."""


def assert_usage_error(result: pytest.RunResult, pytester: pytest.Pytester, message: str) -> None:
    """Assert that a session ended with a sentence before an engine loaded."""
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    output = result.stdout.str() + result.stderr.str()
    assert message in output
    assert "Traceback" not in output
    assert count_loads(pytester) == {}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (CACHE_LIMIT_VARIABLE, "abc", "VLM_PARITY_CACHE_GB='abc': must be a number of gigabytes, 0 or more"),
        (CACHE_VARIABLE, "~nobody-here/cache", "VLM_PARITY_CACHE='~nobody-here/cache': "),
        ("VLM_PARITY_CACHE_GIB", "5", "VLM_PARITY_CACHE_GIB: no such environment variable; "),
    ],
)
def test_environment_variables_are_checked_first(
    engine: RunPytest,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    message: str,
) -> None:
    monkeypatch.setenv(name, value)
    assert_usage_error(engine(*ONE), pytester, message)


@pytest.mark.parametrize("part", ["", "locks", "reference"])
def test_a_cache_that_is_a_file_is_named(
    engine: RunPytest, pytester: pytest.Pytester, cache: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))
    (cache / part).parent.mkdir(exist_ok=True)
    (cache / part).write_text("a file")
    remedy = "set VLM_PARITY_CACHE to a folder that can be written"
    result = engine(*ONE)
    assert_usage_error(
        result, pytester, f"{cache / part}: the cache cannot be written (File exists): {remedy}"
    )


def test_a_cache_that_cannot_be_created_is_named(
    engine: RunPytest, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, "/proc/cache")
    assert_usage_error(engine(*ONE), pytester, "/proc/cache: the cache cannot be written (")


def test_saved_traces_need_no_cache(
    parity: RunPytest, earlier_run: WriteTraces, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier_run()
    monkeypatch.setenv(CACHE_VARIABLE, "/proc/cache")
    assert parity(*AGAIN, *BOTH).ret == pytest.ExitCode.OK


@pytest.mark.parametrize("workers", [(), ("-n", "1")])
def test_a_run_folder_that_is_a_file_is_named(
    engine: RunPytest, pytester: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    (pytester.path / "file").touch()
    result = engine(*ONE, "--run", "file", *workers)
    assert_usage_error(result, pytester, ": name another folder with --parity-run")


def test_a_shards_folder_that_is_a_file_is_named(engine: RunPytest, pytester: pytest.Pytester) -> None:
    (pytester.path / "run").mkdir()
    (pytester.path / "run" / "shards").touch()
    assert_usage_error(engine(*ONE, "--shard", "s"), pytester, "run/shards/s: cannot be written: ")


def test_collecting_creates_nothing(
    engine: RunPytest, pytester: pytest.Pytester, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))
    assert engine("--collect-only").ret == pytest.ExitCode.OK
    assert not cache.exists()
    assert not (pytester.path / "run").exists()


# After the work


def test_a_folder_named_latest_costs_a_warning(engine: RunPytest, pytester: pytest.Pytester) -> None:
    kept = pytester.path / "reports" / "latest" / "kept.txt"
    kept.parent.mkdir(parents=True)
    kept.touch()
    result = engine(*ONE, "--run", "reports/one")
    assert result.ret == pytest.ExitCode.OK
    assert load_run(pytester.path / "reports" / "one").passes
    assert (pytester.path / "reports" / "one" / "index.html").is_file()
    assert kept.exists()
    result.stderr.fnmatch_lines(["warning: */reports/latest is not linked to this run: Is a directory"])


def test_a_cache_that_cannot_be_trimmed_costs_a_warning(
    engine: RunPytest, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> int:
        raise PermissionError(13, "Permission denied", "reference")

    monkeypatch.setattr("vlm_parity.session.session.trim_cache", fail)
    result = engine(*ONE)
    assert result.ret == pytest.ExitCode.OK
    run = load_run(pytester.path / "run")
    assert run.passes
    assert not run.incomplete
    result.stdout.fnmatch_lines(["*warning: the cache could not be trimmed: *Permission denied: 'reference'"])


def test_a_folder_in_place_of_the_report_is_found_first(engine: RunPytest, pytester: pytest.Pytester) -> None:
    (pytester.path / "run" / "index.html").mkdir(parents=True)
    result = engine(*ONE)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["*run/index.html: a folder in place of the report; remove it*"])


def test_a_report_that_cannot_be_written_is_a_sentence_and_keeps_the_verdicts(
    engine: RunPytest, pytester: pytest.Pytester
) -> None:
    (pytester.path / "run").mkdir()
    (pytester.path / "run" / "cases").touch()  # the pages of the cases belong into a folder of this name
    result = engine(*ONE)
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stderr.fnmatch_lines(["the report could not be written: *; the verdicts are in run/shards: *"])
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    assert len(load_run(pytester.path / "run").verdicts) == 1
