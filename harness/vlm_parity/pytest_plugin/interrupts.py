"""Interrupts of a session that uses the plug-in: it keeps what it has compared and writes its report."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from contextlib import ExitStack

import pytest

from vlm_parity.pytest_plugin.run_folder import RunFolder, get_run_folder
from vlm_parity.schema.shard_folder import read_holder
from vlm_parity.util.child_process import terminate_with_parent
from vlm_parity.util.interrupts import delay_interrupts, raise_on_termination
from vlm_parity.util.supervisor import list_descendants

_NAME = "vlm-parity interrupts"
_NOTICE = "vlm-parity: writing the report; another interrupt abandons it"


class Interrupts:
    """Hooks of one session: ``SIGTERM`` and ``SIGHUP`` end it as Ctrl-C does, a second one does not hurt."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._handlers = ExitStack()
        self._handlers.enter_context(raise_on_termination())
        self._is_ending = False

    def pytest_keyboard_interrupt(self) -> None:
        """Delay further interrupts until the end of the session, and end the workers of pytest-xdist.

        pytest-xdist would wait for their current tests, and kill them after some seconds.
        """
        self._delay()
        own = list_descendants(os.getpid())
        for shard in self._folder.path.glob(f"shards/{self._folder.shard}-gw*"):
            worker = read_holder(shard)
            if worker in own:
                os.kill(worker, signal.SIGTERM)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None, object, object]:
        """Delay interrupts until the end of the session."""
        self._delay()
        return (yield)

    def pytest_unconfigure(self) -> None:
        """Restore the handlers of the signals."""
        self._handlers.close()

    def _delay(self) -> None:
        if not self._is_ending:
            self._is_ending = True
            self._handlers.enter_context(delay_interrupts(_NOTICE))


def handle_interrupts(config: pytest.Config) -> None:
    """Handle the interrupts of a session, once; a pytest-xdist worker also ends with its controller."""
    if config.pluginmanager.has_plugin(_NAME):
        return
    if hasattr(config, "workerinput"):
        terminate_with_parent()
    config.pluginmanager.register(Interrupts(get_run_folder(config)), _NAME)
