"""Steps of ``.ci/run``: the table at the end, failures, and steps beside others."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest

STEPS = Path(__file__).parents[2] / ".ci" / "steps.sh"


def run_steps(folder: Path, script: str) -> tuple[int, str, list[tuple[str, str]]]:
    """Return the exit code, the output before the table, and each step with its result."""
    command = ["bash", "-c", f"set -euo pipefail\nsource '{STEPS}'\n{script}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=30)
    output, _, table = done.stdout.partition(" seconds  result     step\n")
    rows = re.findall(r"^ *[\d-]+  (.{10}) (\w+)$", table, re.MULTILINE)
    return done.returncode, output, [(name, result.strip()) for result, name in rows]


def test_every_step_is_in_the_table(tmp_path: Path) -> None:
    code, _, rows = run_steps(tmp_path, "step one true\nstart two true\nfinish two\nstep three true")
    assert code == 0
    assert rows == [("one", "passed"), ("two", "passed"), ("three", "passed")]


@pytest.mark.parametrize("script", ["step bad sh -c 'exit 4'", "start bad sh -c 'exit 4'\nfinish bad"])
def test_a_failed_step_ends_the_run_with_its_exit_code(tmp_path: Path, script: str) -> None:
    code, output, rows = run_steps(tmp_path, f"step good true\n{script}\nstep never echo unreachable")
    assert code == 4
    assert rows == [("good", "passed"), ("bad", "exit 4")]
    assert "unreachable" not in output


def test_the_output_of_a_step_beside_others_is_not_interleaved(tmp_path: Path) -> None:
    script = "start beside sh -c 'echo begun; sleep 0.2; echo ended'\nstep first echo between\nfinish beside"
    _, output, _ = run_steps(tmp_path, script)
    words = [line for line in output.splitlines() if line in {"begun", "between", "ended"}]
    assert words == ["between", "begun", "ended"]


def test_a_failure_stops_the_steps_beside_it_and_prints_their_output(tmp_path: Path) -> None:
    script = "start beside sh -c 'echo begun; echo $$ >pid; sleep 60'\nuntil [ -s pid ]; do sleep 0.05; done"
    code, output, rows = run_steps(tmp_path, f"{script}\nstep bad false")
    assert code == 1
    assert rows == [("bad", "exit 1"), ("beside", "stopped")]
    assert "begun" in output
    process = Path("/proc") / (tmp_path / "pid").read_text(encoding="utf-8").strip()
    deadline = time.monotonic() + 20  # init reaps it, some time after the signal
    while process.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not process.exists()
