"""Sessions of the fuzzer in pytest."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.sessions import prefix_options
from vlm_parity.util.environment_variables import CACHE_VARIABLE

pytest_plugins = ["pytester"]

QUICK = ("-p", "vlm_parity.pytest_plugin.plugin", "-p", "no:hypothesispytest", "-p", "no:cacheprovider")
Run = Callable[..., pytest.RunResult]
MODULE = """\
import pytest
pytestmark = pytest.mark.parity_fuzz
def test_fuzz(parity_fuzz): parity_fuzz.check()
"""


@pytest.fixture
def parity(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return ``pytest cases`` in a clone with nothing but the fuzz test."""
    (pytester.path / "cases").mkdir()
    (pytester.path / "cases" / "test_fuzz.py").write_text(MODULE)
    monkeypatch.setenv(CACHE_VARIABLE, str(pytester.path / "cache"))

    def run(*arguments: str) -> pytest.RunResult:
        chosen = ("--strict-markers", "--run", "run", "--backend", "vllm", "--model", "qwen2_vl")
        return pytester.runpytest_inprocess(*QUICK, *prefix_options(*chosen, "cases", *arguments))

    return run


def test_fuzz_tests_are_deselected_by_default(parity: Run) -> None:
    result = parity()
    result.assert_outcomes(deselected=1)
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.mark.parametrize(
    "option",
    [
        ("--fuzz",),
        ("--fuzz-seconds", "5"),
        ("--fuzz-examples", "5"),
        ("--fuzz-profile", "nightly"),
        ("--fuzz-fault", "span shifted by nobody"),
    ],
)
def test_every_option_asks_for_it(parity: Run, option: tuple[str, ...]) -> None:
    result = parity("--collect-only", "-q", *option)
    if option[0] == "--fuzz-fault":
        result.stderr.fnmatch_lines(
            ["*--parity-fuzz-fault span shifted by nobody: no such fault; vllm has:*"]
        )
        assert result.ret == pytest.ExitCode.USAGE_ERROR
    else:
        result.stdout.fnmatch_lines(["*test_fuzz.py::test_fuzz[[]qwen2_vl-vllm[]]"])


def test_without_hypothesis_it_says_what_to_install(parity: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlm_parity.pytest_plugin.fuzz_options.find_spec", lambda _: None)
    result = parity("--fuzz")
    result.stderr.fnmatch_lines(["*pip install hypothesis*"])
    assert result.ret == pytest.ExitCode.USAGE_ERROR
