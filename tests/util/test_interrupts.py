"""Interrupts: termination acts as Ctrl-C, and the last steps of a program are not cut off."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from vlm_parity.util.interrupts import delay_interrupts, raise_on_termination

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def restored_handlers() -> Iterator[None]:
    """Check that a test leaves no handler behind."""
    before = [signal.getsignal(number) for number in HANDLED]
    yield
    assert [signal.getsignal(number) for number in HANDLED] == before


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", HANDLED)
def test_termination_raises_what_ctrl_c_raises(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), raise_on_termination():
        send(number)


def test_the_exception_names_the_signal() -> None:
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"), raise_on_termination():
        send(signal.SIGTERM)


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        with raise_on_termination():
            send(signal.SIGHUP)
            with delay_interrupts("a notice"):
                send(signal.SIGHUP)
                send(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_handler_of_somebody_else_stays() -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        with raise_on_termination():
            send(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]


@pytest.mark.parametrize("number", HANDLED)
def test_the_first_interrupt_is_delayed(number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    steps = []
    with delay_interrupts("still writing"):
        send(number)
        steps.append("written")
    assert steps == ["written"]
    assert capfd.readouterr().err == "still writing\n"


def test_the_second_interrupt_is_not_delayed() -> None:
    with delay_interrupts("still writing"):
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
            send(signal.SIGTERM)


def test_a_thread_leaves_the_handlers_alone() -> None:
    problems: list[BaseException] = []

    def run() -> None:
        try:
            with raise_on_termination(), delay_interrupts("a notice"):
                pass
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert problems == []
