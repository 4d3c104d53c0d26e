"""The engine process of LMDeploy's api_server, redirected to the CPU.

It is spawned, so it inherits no redirections, and its function must be importable by name.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import Any

from vlm_parity.backends.lmdeploy.cpu.internals import PrivateApi
from vlm_parity.backends.lmdeploy.cpu.redirect import redirect_to_cpu
from vlm_parity.schema.engine_setup import Depth

ENGINE_PROCESS = PrivateApi(
    "lmdeploy.pytorch.engine.mp_engine.zmq_engine",
    "ZMQMPEngine._mp_proc",
    ("shared_dict", "condition", "model_path", "engine_config"),
)
NOTES = (
    f"{ENGINE_PROCESS}: the engine's process gets the same redirections before it starts",
    f"{ENGINE_PROCESS}: the server closes the manager through which it learns the engine's port while the "
    "engine waits for its last response; half of all starts would crash with EOFError, which is ignored here",
)


class ClosingCondition:
    """A manager's condition whose last response may be missing: the server has read the port by then."""

    def __init__(self, shared: Any) -> None:
        """Wrap a condition.

        Args:
            shared: proxy of the manager's condition.
        """
        self._shared = shared

    def __enter__(self) -> Any:
        return self._shared.__enter__()

    def __exit__(self, *raised: object) -> None:
        with suppress(EOFError, ConnectionResetError):
            self._shared.__exit__(*raised)

    def notify(self) -> None:
        """Notify the server."""
        self._shared.notify()


def run_redirected(shared_dict: Any, condition: Any, **kwargs: Any) -> None:
    """Run ``ZMQMPEngine._mp_proc`` with the redirections; the parameters are those of that function."""
    with ExitStack() as redirected:
        redirect_to_cpu(redirected, Depth.LOGITS)
        ENGINE_PROCESS.find()[2](shared_dict, ClosingCondition(condition), **kwargs)


def redirect_engine_process(stack: ExitStack) -> None:
    """Replace the function of the engine's process by ``run_redirected`` until the stack is closed.

    Raises:
        PrivateApiChangedError: LMDeploy has moved or changed the function.
    """
    holder, name, original = ENGINE_PROCESS.find()
    setattr(holder, name, staticmethod(run_redirected))
    stack.callback(setattr, holder, name, staticmethod(original))
