"""The condition through which LMDeploy's engine process reports its port."""

from __future__ import annotations

import pytest

from vlm_parity.backends.lmdeploy.cpu.engine_process import ClosingCondition


class Shared:
    """A manager's condition that raises an error at the end of its block."""

    def __init__(self, exit_error: Exception | None = None) -> None:
        self.exit_error = exit_error
        self.calls: list[str] = []

    def __enter__(self) -> bool:
        self.calls.append("enter")
        return True

    def __exit__(self, *raised: object) -> None:
        self.calls.append("exit")
        if self.exit_error is not None:
            raise self.exit_error

    def notify(self) -> None:
        self.calls.append("notify")


@pytest.mark.parametrize("error", [None, EOFError(), ConnectionResetError()], ids=["open", "EOF", "reset"])
def test_a_missing_last_response_is_ignored(error: Exception | None) -> None:
    shared = Shared(error)
    with ClosingCondition(shared) as entered:
        ClosingCondition(shared).notify()
    assert entered is True
    assert shared.calls == ["enter", "notify", "exit"]


def test_other_errors_at_the_end_are_raised() -> None:
    with pytest.raises(RuntimeError, match="not owned"), ClosingCondition(Shared(RuntimeError("not owned"))):
        pass


def test_errors_inside_the_block_are_raised() -> None:
    with pytest.raises(EOFError), ClosingCondition(Shared()):
        raise EOFError
