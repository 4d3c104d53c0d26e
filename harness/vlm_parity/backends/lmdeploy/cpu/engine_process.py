"""The process that LMDeploy's api_server starts for its engine, redirected to the CPU.

It is spawned, so it inherits no redirection, and is found by module and name.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import Any

from vlm_parity.backends.lmdeploy.cpu.internals import PrivateApi
from vlm_parity.backends.lmdeploy.cpu.redirect import redirect_to_cpu
from vlm_parity.schema.trace import Depth

ENGINE_PROCESS = PrivateApi(
    "lmdeploy.pytorch.engine.mp_engine.zmq_engine",
    "ZMQMPEngine._mp_proc",
    ("shared_dict", "condition", "model_path", "engine_config"),
)
NOTES = (
    f"{ENGINE_PROCESS}: the engine's process is given the same redirections before it begins",
    f"{ENGINE_PROCESS}: the server closes the manager through which it learns its engine's port while the "
    "engine waits for the manager's last answer; half of all starts die of that (EOFError), and go on here",
)


class Condition:
    """The manager's condition, whose last answer may never come: the server has read the port by then."""

    def __init__(self, shared: Any) -> None:
        self._shared = shared

    def __enter__(self) -> Any:
        return self._shared.__enter__()

    def __exit__(self, *raised: object) -> None:
        with suppress(EOFError, ConnectionResetError):
            self._shared.__exit__(*raised)

    def notify(self) -> None:
        self._shared.notify()


def run_redirected(shared_dict: Any, condition: Any, **kwargs: Any) -> None:
    """What ``ZMQMPEngine._mp_proc`` does, under the redirections."""
    with ExitStack() as redirected:
        redirect_to_cpu(redirected, Depth.LOGITS)
        ENGINE_PROCESS.find()[2](shared_dict, Condition(condition), **kwargs)


def redirect_engine_process(until: ExitStack) -> None:
    """Has the server start ``run_redirected`` in its place, until the stack is closed.

    Raises:
        PrivateApiChangedError: the name is gone or has changed.
    """
    holder, name, original = ENGINE_PROCESS.find()
    setattr(holder, name, staticmethod(run_redirected))
    until.callback(setattr, holder, name, staticmethod(original))
