"""``parity run`` as a command: sessions on the stored traces of an earlier run, without an engine."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from tests.support.plugin_sessions import WriteTraces, write_module
from vlm_parity.util.exit_codes import FAILED, NOT_COMPARED, PASSED, USAGE

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.usefixtures("parity")  # writes the cases

ParityRun = Callable[..., pytest.RunResult]
REJUDGE = ("--backend", "vllm", "--model", "qwen2_vl", "--rejudge", "earlier", "--case", "t*", "--run", "run")


@pytest.fixture
def parity_run(pytester: pytest.Pytester, earlier_run: WriteTraces) -> ParityRun:
    """Return ``parity run`` on the traces of an earlier run."""
    earlier_run()
    return lambda *words: pytester.run(sys.executable, "-m", "vlm_parity", "run", *words)


@pytest.mark.parametrize("workers", [(), ("--", "-n", "1")])
def test_comparison_passes(parity_run: ParityRun, workers: tuple[str, ...]) -> None:
    result = parity_run(*REJUDGE, *workers)
    assert result.ret == PASSED
    result.stdout.fnmatch_lines(["None of 2 comparisons differs. This run passes."])
    assert result.stderr.str() == ""


def test_mismatch_fails(parity_run: ParityRun, earlier_run: WriteTraces) -> None:
    earlier_run(prompt="other")
    assert parity_run(*REJUDGE).ret == FAILED


def test_session_without_a_selected_test_names_the_reason(parity_run: ParityRun) -> None:
    result = parity_run(*REJUDGE, "--", "-k", "nothing_like_it")
    assert result.ret == NOT_COMPARED
    assert result.stderr.str() == "parity run: no test was selected, so nothing was compared"


def test_usage_error_comes_without_a_header_of_pytest(
    parity_run: ParityRun, pytester: pytest.Pytester
) -> None:
    result = parity_run(*REJUDGE, "--case", "three*")
    assert result.ret == USAGE
    assert result.stderr.str().startswith("parity run: error: --case three*: matches none of the cases; ")
    assert result.stdout.str() == ""
    assert not (pytester.path / "run").exists()


def test_usage_error_of_cases_that_pytest_collects_reads_the_same(
    parity_run: ParityRun, pytester: pytest.Pytester
) -> None:
    other = pytester.mkdir("suites") / "other"
    (other / "conversations").mkdir(parents=True)
    (other / "conversations" / "bad.yaml").write_text("summary: s\nmessages: []\n")
    (other / "test_other.py").write_text(write_module("tokens"))
    result = parity_run("suites", *REJUDGE)
    assert result.ret == USAGE
    assert f"parity run: error: {other}/conversations/bad.yaml:2: messages: " in result.stderr.str()
    assert "INTERNALERROR" not in result.stdout.str()
