"""Ways to run an engine that must not change any verdict: every mismatch is a false alarm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vlm_parity.selfcheck.fault import NoOpControl


@contextmanager
def _change_nothing(_: Any) -> Iterator[None]:
    yield


@contextmanager
def _limit_threads(_: Any) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


CLEAN_CONTROLS = (
    NoOpControl("repeated", {"vllm": _change_nothing, "lmdeploy": _change_nothing}),
    NoOpControl("one thread", {"vllm": _limit_threads, "lmdeploy": _limit_threads}),
)
