"""The condition through which LMDeploy's engine process tells its port."""

from __future__ import annotations

import pytest

from vlm_parity.backends.lmdeploy.cpu.engine_process import Condition


class Shared:
    """A manager's condition that ends its block as it is told to."""

    def __init__(self, at_exit: Exception | None = None) -> None:
        self.at_exit = at_exit
        self.calls: list[str] = []

    def __enter__(self) -> bool:
        self.calls.append("enter")
        return True

    def __exit__(self, *raised: object) -> None:
        self.calls.append("exit")
        if self.at_exit is not None:
            raise self.at_exit

    def notify(self) -> None:
        self.calls.append("notify")


@pytest.mark.parametrize("gone", [None, EOFError(), ConnectionResetError()], ids=["there", "EOF", "reset"])
def test_the_last_answer_may_never_come(gone: Exception | None) -> None:
    shared = Shared(gone)
    with Condition(shared) as entered:
        Condition(shared).notify()
    assert entered is True
    assert shared.calls == ["enter", "notify", "exit"]


def test_what_else_goes_wrong_is_raised() -> None:
    with pytest.raises(RuntimeError, match="not owned"), Condition(Shared(RuntimeError("not owned"))):
        pass


def test_what_is_raised_inside_is_raised() -> None:
    with pytest.raises(EOFError), Condition(Shared()):
        raise EOFError
