"""Ways to run an engine that must change nothing: what is said of them is a false alarm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vlm_parity.selfcheck.fault import Control


@contextmanager
def _as_it_is(_: Any) -> Iterator[None]:
    yield


@contextmanager
def _one_thread(_: Any) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


CONTROLS = (
    Control("again", {"vllm": _as_it_is, "lmdeploy": _as_it_is}),
    Control("one thread", {"vllm": _one_thread, "lmdeploy": _one_thread}),
)
