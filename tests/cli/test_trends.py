"""``parity trends`` on run folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.traces import TraceFiles, write_shard
from vlm_parity.cli.main import main
from vlm_parity.util.exit_codes import PASSED, USAGE

pytest.importorskip("ruptures")


def test_trends(tmp_path: Path, trace_files: TraceFiles, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [tmp_path / "night-1", tmp_path / "night-2"]
    for run in runs:
        write_shard(run, "vllm", trace_files.decide_verdict())
    assert main(["trends", *map(str, runs), "--out", str(tmp_path / "trends")]) == PASSED
    assert "2 runs; 0 of 1 are worse than those before them" in capsys.readouterr().out
    assert "night-2" in (tmp_path / "trends" / "trends.html").read_text()


def test_a_folder_without_a_shard_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["trends", str(tmp_path / "empty"), "--out", str(tmp_path / "trends")]) == USAGE
    assert "the run holds no shard" in capsys.readouterr().err
