"""Explanations of mismatches for entry points other than the chat path."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.traces import ARRAYS, PREFILL, TraceFiles, make_trace
from vlm_parity.schema.verdict import Verdict

DEPENDS, SCHEDULING = "differs by entry point", "differs by engine mode"
OTHER = np.float32(0.01) * np.sin(PREFILL * 40)


def by_ids(trace_files: TraceFiles, alone: Verdict | None) -> dict[str, str]:
    """Explain logits that differ for a case passed as token ids."""
    trace_files.write(
        trace_files.tested, make_trace(entry_point="token_ids"), {**ARRAYS, "prefill": PREFILL + OTHER}
    )
    return {found.cause: found.explanation for found in trace_files.decide_verdict(alone).diagnoses}


def chat(trace_files: TraceFiles, prefill: np.ndarray) -> Verdict:
    """Decide the verdict on the same case through the chat path."""
    trace_files.write(trace_files.tested, make_trace(), {**ARRAYS, "prefill": prefill})
    return trace_files.decide_verdict(None)


def test_the_chat_path_that_agrees_is_reported(trace_files: TraceFiles) -> None:
    found = by_ids(trace_files, chat(trace_files, PREFILL))
    assert SCHEDULING not in found
    assert found[DEPENDS] == (
        "vllm received the case through the entry point token_ids; through the chat path the same case "
        "matches the reference at prefill."
    )


def test_where_the_chat_path_differs_too_the_entry_point_is_no_cause(trace_files: TraceFiles) -> None:
    assert DEPENDS not in by_ids(trace_files, chat(trace_files, PREFILL + OTHER))


def test_an_unknown_chat_path_is_to_be_asked(trace_files: TraceFiles) -> None:
    assert "--entry-point chat" in by_ids(trace_files, None)[DEPENDS]


@pytest.mark.parametrize("mode", ["default", "chunked_prefill"])
def test_a_mode_through_the_chat_path_is_no_entry_point(trace_files: TraceFiles, mode: str) -> None:
    trace_files.write(trace_files.tested, make_trace(mode=mode), {**ARRAYS, "prefill": PREFILL + OTHER})
    assert DEPENDS not in {found.cause for found in trace_files.decide_verdict(None).diagnoses}
