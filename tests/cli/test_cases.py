"""``parity cases --explain``: one case, as every side is passed it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.command_line import run_command
from vlm_parity.util.exit_codes import PASSED, USAGE

TOOLS = "cases/conversations/tools.yaml"


def test_the_explanation_is_yaml_of_every_side(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("cases", "--explain", TOOLS) == PASSED
    sides = yaml.safe_load(capsys.readouterr().out)
    assert list(sides)[:2] == ["media", "transformers"]
    assert {"vllm", "vllm, server", "lmdeploy", "lmdeploy, server"} <= set(sides)
    assert sides["vllm"]["messages"][2]["tool_calls"][0]["function"]["name"] == "zoom"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--model", "qwen2_vl"), "--model: belongs to --explain FILE"),
        (("--explain", TOOLS, "--model", "qwen2vl"), "did you mean qwen2_vl or "),
        (("cases/conversations", "--explain", TOOLS), "--explain takes one FILE and no folder"),
        (("--explain", "none.yaml"), "none.yaml"),
    ],
)
def test_a_wrong_use_is_named(
    words: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("cases", *words) == USAGE
    assert reason in capsys.readouterr().err


def test_control_characters_of_a_case_are_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text('summary: s\nmessages: [{role: user, content: "\\e[31mred"}]\n')
    assert run_command("cases", "--explain", str(tmp_path / "a.yaml")) == PASSED
    assert "\x1b" not in capsys.readouterr().out
