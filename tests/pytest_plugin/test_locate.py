"""Sessions that locate modules: one more pass for each difference, or the reason why not."""

from __future__ import annotations

import pytest

from tests.support.plugin_sessions import RunPytest
from vlm_parity.report.load_run import load_run
from vlm_parity.schema.trace import Stage

pytest_plugins = ["pytester"]
FAULT = ("--engine-arg", "wrong logit two_images=true")


def test_an_engine_that_shows_no_modules_says_so_in_the_verdict(
    engine: RunPytest, pytester: pytest.Pytester
) -> None:
    result = engine("--locate", *FAULT)
    verdicts = {entry.verdict.case: entry.verdict for entry in load_run(pytester.path / "run").verdicts}
    (location,) = verdicts["two_images"].locations
    assert location.stages == (Stage.PREFILL,)
    assert location.problem == "tiny_engine does not expose the modules of its model"
    assert not any(verdict.locations for case, verdict in verdicts.items() if case != "two_images")
    result.stdout.fnmatch_lines(["* two_images, modules: unsupported"])
    result.assert_outcomes(passed=17, failed=1)


def test_a_crash_while_modules_are_recorded_changes_no_verdict(
    engine: RunPytest, pytester: pytest.Pytester
) -> None:
    engine("--locate", *FAULT, "--engine-arg", "modules=die")
    verdicts = {entry.verdict.case: entry.verdict for entry in load_run(pytester.path / "run").verdicts}
    (location,) = verdicts["two_images"].locations
    assert "SIGKILL" in location.problem
    assert verdicts["two_images"].stage(Stage.PREFILL).differs
    assert len(verdicts) == 3


def test_nothing_is_recorded_without_the_option(engine: RunPytest, pytester: pytest.Pytester) -> None:
    engine(*FAULT)
    assert not any(entry.verdict.locations for entry in load_run(pytester.path / "run").verdicts)
