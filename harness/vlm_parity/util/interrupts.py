"""Interrupts: the signals that end a program act as Ctrl-C does, and do not cut off its last steps."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

_TERMINATION = (signal.SIGTERM, signal.SIGHUP)
_Handler = Callable[[int, FrameType | None], None]


@contextmanager
def raise_on_termination() -> Iterator[None]:
    """Let ``SIGTERM`` and ``SIGHUP`` raise ``KeyboardInterrupt`` during a block, as ``SIGINT`` does.

    A signal that is ignored (``nohup``) or that another handler receives is left alone.
    """

    def interrupt(number: int, _: FrameType | None) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    free = [number for number in _TERMINATION if signal.getsignal(number) is signal.SIG_DFL]
    with _handle(free, interrupt):
        yield


@contextmanager
def delay_interrupts(notice: str) -> Iterator[None]:
    """Let a block run to its end: its first interrupt prints a notice, the second raises.

    Args:
        notice: a line for stderr.
    """
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt(signal.Signals(number).name)
        received.append(number)
        os.write(2, f"{notice}\n".encode())  # sys.stderr may be in use where the signal arrives

    numbers = (signal.SIGINT, *_TERMINATION)
    with _handle([n for n in numbers if signal.getsignal(n) is not signal.SIG_IGN], note):
        yield


@contextmanager
def _handle(numbers: Iterable[signal.Signals], handler: _Handler) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only that one can set handlers
        yield
        return
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
