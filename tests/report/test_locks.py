"""The lock of a shard, as a sentence."""

from __future__ import annotations

from vlm_parity.report.locks import format_lock
from vlm_parity.schema.run import Lock, LockDifference


def test_no_lock_is_stated() -> None:
    assert format_lock(None).startswith("No lock: ")


def test_the_lock_and_each_difference_are_named() -> None:
    lock = Lock(name="vllm", digest="0123456789ab", pins=166)
    assert format_lock(lock) == "Lock vllm (166 packages, 0123456789ab): every package as pinned."
    changed = LockDifference(name="torch", pinned="2.13.0", installed="2.12.1")
    removed = LockDifference(name="torchaudio", pinned="2.11.0", installed=None)
    added = LockDifference(name="ray", pinned=None, installed="3.0")
    assert format_lock(lock.model_copy(update={"differences": (changed, removed, added)})) == (
        "Lock vllm (166 packages, 0123456789ab), except: torch 2.12.1 (2.13.0 pinned); "
        "torchaudio not installed (2.11.0 pinned); ray 3.0 (not pinned)."
    )
