"""``parity known`` on a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.traces import ARRAYS, FEATURES, TraceFiles, make_trace, write_shard
from vlm_parity.cli.main import main
from vlm_parity.util.exit_codes import FAILED, PASSED, USAGE

ENTRY = """
[[issue]]
name = "tower"
model = "qwen2_vl"
backend = "vllm"
case = "one_*"
stage = "vision"
{limits}
upstream = "none"
expires = 2027-06-30
note = "Another activation."
"""
LIMITS = 'cause = "vision*"\nat_most = { vision = { limit_ratio = 1e9 } }'


@pytest.fixture
def run(tmp_path: Path, trace_files: TraceFiles) -> Path:
    trace_files.write(trace_files.tested, make_trace(), {**ARRAYS, "vision": FEATURES * 1.02})
    write_shard(tmp_path / "run", "vllm", trace_files.decide_verdict())
    return tmp_path / "run"


@pytest.mark.parametrize(("limits", "code"), [("", FAILED), (LIMITS, PASSED)])
def test_the_exit_code_states_that_an_entry_is_too_broad(
    run: Path, tmp_path: Path, limits: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "known.toml"
    file.write_text(ENTRY.format(limits=limits), encoding="utf-8")
    assert main(["known", str(run), "--known-issues", str(file)]) == code
    output = capsys.readouterr().out
    assert output.startswith("tower at vision: qwen2_vl in vllm (1)\n")
    assert ("    warning: explains any size" in output) is (code == FAILED)
    assert output.endswith(f"Known issues: 1; differences explained: 1; warned of: {int(code == FAILED)}.\n")


def test_a_missing_run_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["known", str(tmp_path / "none")]) == USAGE
    assert "no such folder" in capsys.readouterr().err
