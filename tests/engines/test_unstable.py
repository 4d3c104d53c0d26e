"""A real engine with a fault that comes and goes: the difference is unstable, and a steady one repeats."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from vlm_parity.cli.main import main
from vlm_parity.report.load_run import load_run
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Verdict, VerdictKind
from vlm_parity.util.exit_codes import FAILED

if not (find_spec("vllm") or find_spec("lmdeploy")):
    pytest.skip("neither engine is installed", allow_module_level=True)

ROOT = Path(__file__).parents[2]
MODEL = "qwen2_5_vl"


def run_flickering(tmp_path: Path, *words: str) -> tuple[int, Verdict]:
    selected = ("--backend", "flickering", "--model", MODEL, "--case", "one_image", *words)
    code = main(
        ["run", str(ROOT / "cases"), *selected, "--run", str(tmp_path), "--", "-q", "-p", "no:cacheprovider"]
    )
    run = load_run(tmp_path)
    assert not run.problems
    (entry,) = run.verdicts
    return code, entry.verdict


@pytest.fixture
def flickering(install_backend: Callable[[str, Path, str], str]) -> str:
    """Install the backend of ``tests/support/flickering_engine.py``."""
    file = ROOT / "tests" / "support" / "flickering_engine.py"
    return install_backend("flickering", file, "flickering_engine:FlickeringEngine")


@pytest.mark.usefixtures("flickering")
def test_fault_in_every_second_run_is_unstable(tmp_path: Path) -> None:
    code, verdict = run_flickering(tmp_path)
    assert code == FAILED
    assert (verdict.kind, verdict.first_divergence) == (VerdictKind.UNSTABLE, Stage.VISION)
    assert verdict.reason == "comes and goes: 2 of 3 differ first at vision, 1 of 3 agree up to vision"
    assert [each.is_identical for each in verdict.repetitions] == [False, True]


@pytest.mark.usefixtures("flickering")
def test_one_pass_takes_it_for_a_mismatch(tmp_path: Path) -> None:
    _, verdict = run_flickering(tmp_path, "--repeat", "1")
    assert (verdict.kind, verdict.passes_note) == (VerdictKind.MISMATCH, "")
