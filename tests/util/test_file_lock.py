"""Locks between processes."""

from __future__ import annotations

import threading

import pytest

from vlm_parity.util.file_lock import acquire_lock


@pytest.mark.usefixtures("cache")
def test_a_held_lock_is_announced_and_waited_for() -> None:
    waiting, acquired = threading.Event(), threading.Event()

    def wait_for_lock() -> None:
        with acquire_lock("one", waiting.set):
            acquired.set()

    with acquire_lock("one"):
        thread = threading.Thread(target=wait_for_lock, daemon=True)
        thread.start()
        assert waiting.wait(10)
        assert not acquired.is_set()
    assert acquired.wait(10)
    thread.join()


@pytest.mark.usefixtures("cache")
def test_a_free_lock_is_acquired_at_once() -> None:
    with acquire_lock("one", lambda: pytest.fail("it is free")), acquire_lock("two"):
        pass
