"""What is said of a mismatch where a case went in by another way than the chat path."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.traces import ARRAYS, PREFILL, OnDisk, trace
from vlm_parity.schema.verdict import Verdict

DEPENDS, SCHEDULING = "differs by entry point", "differs by engine mode"
OTHER = np.float32(0.01) * np.sin(PREFILL * 40)


def by_ids(on_disk: OnDisk, alone: Verdict | None) -> dict[str, str]:
    """The causes with their explanations, for answers that differ by ids."""
    on_disk.write(on_disk.tested, trace(entry_point="token_ids"), {**ARRAYS, "prefill": PREFILL + OTHER})
    return {found.cause: found.explanation for found in on_disk.judge(alone).diagnoses}


def chat(on_disk: OnDisk, prefill: np.ndarray) -> Verdict:
    """The verdict on the same case by the chat path."""
    on_disk.write(on_disk.tested, trace(), {**ARRAYS, "prefill": prefill})
    return on_disk.judge(None)


def test_the_chat_path_that_agrees_is_told(on_disk: OnDisk) -> None:
    found = by_ids(on_disk, chat(on_disk, PREFILL))
    assert SCHEDULING not in found
    assert found[DEPENDS] == (
        "The case went into vllm by token_ids; through its chat path the same case is at prefill as in the "
        "reference."
    )


def test_where_the_chat_path_differs_too_the_way_in_is_no_cause(on_disk: OnDisk) -> None:
    assert DEPENDS not in by_ids(on_disk, chat(on_disk, PREFILL + OTHER))


def test_an_unknown_chat_path_is_to_be_asked(on_disk: OnDisk) -> None:
    assert "--entry-point chat" in by_ids(on_disk, None)[DEPENDS]


@pytest.mark.parametrize("mode", ["default", "chunked_prefill"])
def test_a_mode_through_the_chat_path_is_no_entry_point(on_disk: OnDisk, mode: str) -> None:
    on_disk.write(on_disk.tested, trace(mode=mode), {**ARRAYS, "prefill": PREFILL + OTHER})
    assert DEPENDS not in {found.cause for found in on_disk.judge(None).diagnoses}
