"""Findings on disk: the bytes, the report, and the command that reproduces them."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path

from tests.byte_fuzzer.oracle import Outcome, Reading
from tests.byte_fuzzer.target import Target

INPUT, REPORT = "input", "report.txt"


def write_finding(folder: Path, target: Target, content: bytes, reading: Reading) -> bool:
    """Write a finding into a folder of its own, unless there is one with its key.

    Returns:
        True if it is new.
    """
    assert reading.outcome is Outcome.FINDING
    name = f"{target.name}-{hashlib.sha256(reading.key.encode()).hexdigest()[:8]}"
    finding = folder / name
    if (finding / REPORT).exists():
        return False
    finding.mkdir(parents=True, exist_ok=True)
    (finding / INPUT).write_bytes(content)
    command = f"tox -e fuzz-bytes -- --target {target.name} --reproduce {shlex.quote(str(finding / INPUT))}"
    (finding / REPORT).write_text(
        f"{reading.key}\nreproduce: {command}\n\n{reading.report}", errors="replace"
    )
    return True


def list_findings(folder: Path) -> list[Path]:
    """Return the folders of all findings."""
    return sorted(report.parent for report in folder.glob(f"*/{REPORT}"))
