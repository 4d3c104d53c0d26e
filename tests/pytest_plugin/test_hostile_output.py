"""Output of pytest about a comparison that quotes a hostile engine, case file or list."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.hostile_text import HOSTILE, find_terminal_dangers
from tests.support.plugin_sessions import AGAIN, BOTH, KNOWN_ISSUES, RunPytest, WriteTraces
from tests.support.traces import NOTHING
from vlm_parity.schema.trace import Outcome

pytest_plugins = ["pytester"]


def list_dangers(result: pytest.RunResult) -> list[str]:
    return find_terminal_dangers("\n".join([*result.outlines, *result.errlines]))


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.CRASH, Outcome.UNSUPPORTED])
def test_message_of_an_engine(parity: RunPytest, earlier_run: WriteTraces, outcome: Outcome) -> None:
    earlier_run({}, outcome=outcome, message=HOSTILE, **NOTHING)
    result = parity(*AGAIN, *BOTH)
    assert "octocat" in result.stdout.str()
    assert list_dangers(result) == []


def test_known_issue(parity: RunPytest, earlier_run: WriteTraces) -> None:
    earlier_run(prompt="other")
    text = KNOWN_ISSUES.replace("One token more.", "::error::pwned \\u009b31m").replace("input_ids", "prompt")
    Path("cases/known_issues.toml").write_text(text)
    result = parity(*AGAIN, *BOTH, "-rx")
    assert "pwned" in result.stdout.str()
    assert list_dangers(result) == []


@pytest.mark.parametrize("style", ["auto", "long", "short", "line", "native"])
def test_traceback(
    parity: RunPytest, earlier_run: WriteTraces, monkeypatch: pytest.MonkeyPatch, style: str
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(HOSTILE) from ValueError(HOSTILE)

    monkeypatch.setattr("vlm_parity.session.session.Session.get_verdict", fail)
    earlier_run()
    result = parity(*AGAIN, *BOTH, f"--tb={style}")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "RuntimeError" in result.stdout.str()
    assert list_dangers(result) == []


def test_case_file(parity: RunPytest, earlier_run: WriteTraces) -> None:
    earlier_run()
    path = Path("cases/conversations/hostile.yaml")
    path.write_text('"::error::pwned \\e[31m": 1\nsummary: s\nmessages: []\n')
    result = parity(*AGAIN)
    assert "pwned" in result.stderr.str()
    assert list_dangers(result) == []
