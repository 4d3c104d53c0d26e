"""``parity compare`` and ``parity gate`` on run folders: exit codes, and the files that they write."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.support.traces import ARRAYS, FEATURES, TraceFiles, make_trace, write_shard
from vlm_parity.cli.main import main
from vlm_parity.util.exit_codes import FAILED, PASSED, USAGE


@pytest.fixture
def good(tmp_path: Path, trace_files: TraceFiles) -> str:
    """Write a run whose comparison matches."""
    write_shard(tmp_path / "good", "vllm", trace_files.decide_verdict())
    return str(tmp_path / "good")


@pytest.fixture
def bad(tmp_path: Path, good: str, trace_files: TraceFiles) -> str:
    """Write a run whose comparison differs at ``vision``."""
    assert good
    trace_files.write(trace_files.tested, make_trace(), {**ARRAYS, "vision": FEATURES * 1.02})
    write_shard(tmp_path / "bad", "vllm", trace_files.decide_verdict())
    return str(tmp_path / "bad")


def test_compare(good: str, bad: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", bad, "--baseline", good]) == FAILED
    output = capsys.readouterr().out
    assert output.startswith("1 comparison: 1 new difference; 1 of them worse than in the baseline.\n")
    assert "new" in output
    assert main(["compare", good, "--baseline", bad]) == PASSED
    assert main(["compare", good, "--baseline", good]) == PASSED
    files = ["--json", str(tmp_path / "new" / "a.json"), "--markdown", str(tmp_path / "a.md")]
    assert main(["compare", bad, "--baseline", good, *files]) == FAILED
    document = json.loads((tmp_path / "new" / "a.json").read_text())
    assert document["counts"]["new difference"] == 1
    assert [change["stage"] for change in document["changes"]] == ["vision"]
    assert "| new difference | vision |" in (tmp_path / "a.md").read_text()


def test_gate(good: str, bad: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gate", good, "--baseline", good]) == PASSED
    assert capsys.readouterr().out.startswith("The gate passes: 1 unchanged.\n")
    assert main(["gate", good, "--baseline", bad]) == PASSED, "a planted improvement passes"
    capsys.readouterr()
    names = ("json", "markdown", "junit")
    files = [word for name in names for word in (f"--{name}", str(tmp_path / name))]
    assert main(["gate", bad, "--baseline", good, "--annotations", *files]) == FAILED
    output = capsys.readouterr().out
    sentence = output.splitlines()[0]
    assert sentence.startswith("The gate fails: new difference: vision (")
    assert "\n::error title=parity gate%3A new difference::vision (" in output
    document = json.loads((tmp_path / "json").read_text())
    assert (document["passes"], document["sentence"]) == (False, sentence)
    assert "| failure | new difference | 1 |" in (tmp_path / "markdown").read_text()
    (suite,) = ET.parse(tmp_path / "junit").getroot()  # noqa: S314 (our own file)
    assert suite.attrib["failures"] == "1"


def test_an_incomplete_run_fails(good: str, tmp_path: Path, trace_files: TraceFiles) -> None:
    write_shard(tmp_path / "part", "vllm", trace_files.decide_verdict(), expected=2)
    part = str(tmp_path / "part")
    assert main(["gate", part, "--baseline", good]) == FAILED
    assert main(["compare", part, "--baseline", good]) == FAILED
    assert main(["gate", good, "--baseline", part]) == PASSED
    assert main(["compare", good, "--baseline", part]) == PASSED


def test_a_lost_shard_fails(
    good: str, tmp_path: Path, trace_files: TraceFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shard(tmp_path / "both", "vllm", trace_files.decide_verdict())
    trace_files.write(trace_files.tested, make_trace(mode="batched"), ARRAYS)
    write_shard(tmp_path / "both", "batched", trace_files.decide_verdict())
    both = str(tmp_path / "both")
    assert main(["gate", both, "--baseline", both]) == PASSED
    assert main(["gate", both, "--baseline", good]) == PASSED, "an added shard that matches"
    capsys.readouterr()
    assert main(["gate", good, "--baseline", both]) == FAILED
    sentence = "The gate fails: removed: one_image · qwen2_vl · vllm-batched.\n"
    assert capsys.readouterr().out.startswith(sentence)


@pytest.mark.parametrize("factor", ["0.5", "nan", "inf", "x"])
def test_a_factor_is_a_number_from_1(factor: str, good: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["gate", good, "--baseline", good, "--factor", factor])
    assert caught.value.code == USAGE
    assert "is not a number from 1" in capsys.readouterr().err
