"""``parity reports``: the list, as JSON, as a page, and against a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command_line import run_command
from vlm_parity.util.exit_codes import PASSED, USAGE


def test_every_report_is_listed_with_the_command_that_asks_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("reports") == PASSED
    output = capsys.readouterr().out
    assert "vllm_reasoning_content_dropped: live, found: " in output
    assert "    parity run --backend vllm --model qwen3_5 --case reasoning_content\n" in output
    assert "vllm_adapter_of_the_vision_tower: cannot be written: LoRA adapters\n" in output


def test_json_has_the_counts(tmp_path: Path) -> None:
    assert run_command("reports", "--json", str(tmp_path / "reports.json")) == PASSED
    document = json.loads((tmp_path / "reports.json").read_text())
    assert document["recall"]["reports"] == len(document["reports"])


def test_a_run_that_is_missing_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("reports", "--run", str(tmp_path / "none")) == USAGE
    assert "none" in capsys.readouterr().err


def test_a_mistake_in_the_catalog_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text("title: t\n")
    assert run_command("reports", "--reports", str(tmp_path)) == USAGE
    assert "a.yaml:1: upstream: is missing" in capsys.readouterr().err
