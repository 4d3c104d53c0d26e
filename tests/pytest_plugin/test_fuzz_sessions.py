"""Sessions that fuzz the tiny engine: green only if each says that it came to its end."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.support.checkpoints import write_checkpoint
from tests.support.sessions import prefix_options
from vlm_parity.cli.main import main
from vlm_parity.fuzz import campaign, frontends, properties
from vlm_parity.fuzz.frontends import FrontendLoadError
from vlm_parity.report.entries import ShardEntry
from vlm_parity.report.load_run import LoadedRun, load_run
from vlm_parity.schema.fuzz_findings import FUZZ_FILE
from vlm_parity.schema.trace import Outcome, Span
from vlm_parity.schema.verdict import VerdictKind
from vlm_parity.util.environment_variables import CACHE_VARIABLE

pytest_plugins = ["pytester"]

# A module that a session imports first is unloaded after it, and a patch of it is lost.
import_module("vlm_parity.pytest_plugin.fuzz_fixture")

QUICK = ("-p", "vlm_parity.pytest_plugin.plugin", "-p", "no:hypothesispytest", "-p", "no:cacheprovider")
MODULE = """\
import pytest
pytestmark = pytest.mark.parity_fuzz
def test_fuzz(parity_fuzz): parity_fuzz.check()
"""
RunFuzzer = Callable[..., pytest.RunResult]


@pytest.fixture
def fuzz(
    pytester: pytest.Pytester, tiny_engine: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> RunFuzzer:
    """Return a function that fuzzes the tiny engine, against itself, with a few examples."""
    monkeypatch.setattr(frontends, "REFERENCE_BACKEND", tiny_engine)
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))
    model = write_checkpoint(pytester.path / "tiny model", model_type="tiny")
    (pytester.path / "cases").mkdir()
    (pytester.path / "cases" / "test_fuzz.py").write_text(MODULE)

    def run(*arguments: str) -> pytest.RunResult:
        chosen = ("--run", "run", "--shard", "p", "--backend", tiny_engine, "--model", str(model))
        words = prefix_options(*chosen, "--fuzz", "--fuzz-examples", "4", "cases", *arguments)
        return pytester.runpytest_inprocess(*QUICK, *words)

    return run


def load(pytester: pytest.Pytester) -> tuple[LoadedRun, ShardEntry]:
    run = load_run(pytester.path / "run")
    (shard,) = run.shards
    return run, shard


def report(pytester: pytest.Pytester) -> int:
    """Return the exit code of the report, as in ``tox -e fuzz``."""
    folder = str(pytester.path / "run")
    return main(["report", folder, "--out", folder, "--require-shard", "p-fuzz"])


def test_a_session_that_comes_to_its_end_passes(fuzz: RunFuzzer, pytester: pytest.Pytester) -> None:
    assert fuzz().ret == pytest.ExitCode.OK
    run, shard = load(pytester)
    assert run.passes
    assert shard.fuzz is not None
    assert [(each.finished, each.examples) for each in shard.fuzz.fuzzed] == [(True, 4)]
    assert report(pytester) == 0


def test_a_child_that_is_killed_is_a_finding(fuzz: RunFuzzer, pytester: pytest.Pytester) -> None:
    result = fuzz("--engine-arg", "inputs fuzz=die")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    run, shard = load(pytester)
    assert not shard.incomplete_reason
    assert run.verdicts[0].verdict.kind is VerdictKind.ERROR  # under its own name it does not die
    assert report(pytester) == 1


def fail_to_load_again(self: frontends.Frontend) -> None:
    if self._process is None and self.loads:
        raise FrontendLoadError(Outcome.CRASH, "while loading: the process was killed by SIGKILL")
    _LOAD(self)


_LOAD = frontends.Frontend.load


def test_a_child_whose_successor_does_not_load_is_red(
    fuzz: RunFuzzer, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frontends.Frontend, "load", fail_to_load_again)
    assert fuzz("--engine-arg", "inputs fuzz=die").ret == pytest.ExitCode.TESTS_FAILED
    _, shard = load(pytester)
    assert "was not fuzzed completely: a child crashed and its successor did not load" in (
        shard.incomplete_reason
    )
    assert report(pytester) == 1


@pytest.mark.parametrize(
    ("order", "reason"),
    [("raise", "error: ValueError: cannot do load"), ("exit", "crash: while loading: the process ended")],
)
def test_an_engine_that_does_not_load_is_red(
    fuzz: RunFuzzer, pytester: pytest.Pytester, order: str, reason: str
) -> None:
    assert fuzz("--engine-arg", f"load={order}").ret == pytest.ExitCode.TESTS_FAILED
    _, shard = load(pytester)
    assert f"tiny-model in tiny_engine was not fuzzed completely: {reason}" in shard.incomplete_reason
    assert report(pytester) == 1


def test_a_model_that_is_not_supported_is_skipped(fuzz: RunFuzzer, pytester: pytest.Pytester) -> None:
    fuzz("--engine-arg", "load=say no").assert_outcomes(skipped=1)
    _, shard = load(pytester)
    assert shard.fuzz is not None
    assert [each.unsupported for each in shard.fuzz.fuzzed] == ["load: not served"]
    assert shard.incomplete_reason == "it compared nothing"


def confuse(*_: object, **__: object) -> NoReturn:
    Span.of("image", 0, [None, 1])  # type: ignore[list-item]
    raise AssertionError("unreachable")


def test_an_error_in_the_campaign_is_red(
    fuzz: RunFuzzer, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign.Campaign, "_check", confuse)
    assert fuzz().ret == pytest.ExitCode.TESTS_FAILED
    _, shard = load(pytester)
    assert "was not fuzzed completely: TypeError: " in shard.incomplete_reason
    assert report(pytester) == 1


def test_an_error_in_a_property_is_a_finding(
    fuzz: RunFuzzer, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(properties.PropertyChecker, "check", confuse)
    assert fuzz().ret == pytest.ExitCode.TESTS_FAILED
    run, shard = load(pytester)
    assert not shard.incomplete_reason
    (entry,) = run.verdicts
    assert entry.verdict.kind is VerdictKind.HARNESS_ERROR
    assert entry.verdict.reason.startswith("the harness failed while checking the properties: TypeError: ")
    assert report(pytester) == 1


def test_a_hypothesis_that_draws_nothing_is_red(
    fuzz: RunFuzzer, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign.Campaign, "_build_property", lambda _: lambda: None)
    assert fuzz().ret == pytest.ExitCode.TESTS_FAILED
    _, shard = load(pytester)
    assert "Hypothesis drew no example in the round with seed" in shard.incomplete_reason
    assert report(pytester) == 1


def test_a_session_that_is_interrupted_is_red(
    fuzz: RunFuzzer, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> NoReturn:
        pytest.exit("as by Ctrl-C")

    monkeypatch.setattr(campaign.Campaign, "_check", interrupt)
    assert fuzz().ret == pytest.ExitCode.INTERRUPTED
    _, shard = load(pytester)
    assert shard.fuzz is not None
    assert [each.finished for each in shard.fuzz.fuzzed] == [False]
    assert report(pytester) == 1


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("{}")])
def test_a_shard_without_its_fuzz_record_is_red(
    fuzz: RunFuzzer, pytester: pytest.Pytester, damage: Callable[[Path], Any]
) -> None:
    fuzz()
    damage(pytester.path / "run" / "shards" / "p-fuzz" / FUZZ_FILE)
    _, shard = load(pytester)
    assert shard.incomplete_reason == f"0 of 1 models and engines in {FUZZ_FILE}"
    assert report(pytester) == 1


def test_a_test_that_fails_by_itself_is_red(fuzz: RunFuzzer, pytester: pytest.Pytester) -> None:
    module = MODULE.replace("parity_fuzz.check()", "assert parity_fuzz.check()")
    (pytester.path / "cases" / "test_fuzz.py").write_text(module)
    assert fuzz().ret == pytest.ExitCode.TESTS_FAILED
    _, shard = load(pytester)
    assert shard.incomplete_reason == (
        "tests failed that no verdict explains: cases/test_fuzz.py::test_fuzz[tiny-model-tiny_engine]"
    )
    assert report(pytester) == 1
