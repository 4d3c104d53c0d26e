"""Pytest sessions of the plug-in in a folder of their own: test modules, command lines, results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vlm_parity.schema.case_file import load_case

CASES = Path(__file__).parents[2] / "cases"
STAGES = {"tokens": ["prompt", "input_ids", "spans"], "logits": ["prefill", "decode", "greedy"]}
"""The tests of every case by depth, in the order in which they run: those of ``cases/``, but fewer."""
EVERY_STAGE = STAGES["tokens"] + STAGES["logits"]
ALL_SETUPS = ("--mode", "all", "--entry-point", "all")

PLUGIN = ("-p", "vlm_parity.pytest_plugin.plugin", "-p", "no:hypothesispytest", "-p", "no:cacheprovider")
AGAIN = ("--backend", "vllm", "--model", "qwen2_vl", "--rejudge", "earlier", "-rfs")
"""Options that compare the traces of the ``earlier_run`` fixture."""
BOTH = ("--case", "t*")
"""Options that select the two cases of the ``earlier_run`` fixture."""
KNOWN_ISSUES = """[[issue]]
name = "shift"
backend = "vllm"
case = "two_images"
stage = "input_ids"
upstream = "not reported yet"
expires = 2999-01-01
note = "One token more."
"""

RunPytest = Callable[..., pytest.RunResult]
"""Runs pytest with options of ``parity run``."""
WriteTraces = Callable[..., None]
"""Writes the traces of an earlier run, with changes of one trace."""


def name_case(name: str) -> dict[str, str]:
    """Return the fields of a trace that name one of the cases in ``cases/``."""
    path = CASES / "conversations" / f"{name}.yaml"
    return {"case": name, "case_digest": load_case(path).digest()}


def write_module(depth: str) -> str:
    """Return a test module as users write it for their own cases."""
    tests = (
        f"def test_{name}(parity_comparison): parity_comparison.check({name!r})" for name in STAGES[depth]
    )
    return "\n".join(["import pytest", f"pytestmark = pytest.mark.parity_{depth}", *tests])


def list_selected(result: pytest.RunResult) -> list[str]:
    """Return the ids of the selected tests, without their files."""
    return [line.partition("::")[2] for line in result.outlines if "::test_" in line]


def list_ids(parity: RunPytest, *arguments: str) -> list[str]:
    """Return the ids of the tests that a session on vLLM and Qwen2-VL selects."""
    collect = ("--collect-only", "-q", "--backend", "vllm", "--model", "qwen2_vl")
    return list_selected(parity(*collect, *arguments))


def list_failures(result: pytest.RunResult) -> list[str]:
    """Return the ids of the failed tests, without their files."""
    lines = [line.split()[1] for line in result.outlines if line.startswith(("FAILED", "ERROR"))]
    return [line.partition("::")[2] for line in lines]


def count_loads(pytester: pytest.Pytester) -> dict[str, int]:
    """Return the number of loads of each engine, by the name of its log."""
    logs = (pytester.path / "run").glob("shards/*/logs/*.log")
    return {log.stem: log.read_text().count("loading") for log in logs}
