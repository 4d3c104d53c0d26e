"""Log-probabilities of a few tokens, and prompts of which only the length is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.traces import ARRAYS, CONTINUATION, DECODE, IDS, PREFILL, TraceFiles, make_trace
from vlm_parity.schema.trace import ARRAY_FILE, Stage
from vlm_parity.schema.verdict import DiffStatus, StageDiff, Verdict, VerdictKind
from vlm_parity.util.numeric import compute_log_softmax

KEPT = {name: array for name, array in ARRAYS.items() if name not in {"prefill", "decode"}}


@pytest.fixture
def trace_files(tmp_path: Path) -> TraceFiles:
    return TraceFiles(tmp_path)


def top(logits: np.ndarray, rows: list[int], count: int = 4) -> dict[str, np.ndarray]:
    """List the most likely tokens of some rows, with the last column empty."""
    ids = np.stack([np.argsort(-logits[row])[:count] for row in rows]).reshape(len(rows), count)
    found = np.stack([compute_log_softmax(logits[row])[ids[i]] for i, row in enumerate(rows)]).reshape(
        ids.shape
    )
    ids[:, -1], found[:, -1] = -1, np.nan
    return {"rows": np.array(rows), "ids": ids.astype(np.int64), "logprobs": found.astype(np.float32)}


def listed(**stages: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = {"prefill": top(PREFILL, list(range(len(IDS)))), "decode": top(DECODE, [0, 1]), **stages}
    return {**KEPT, **{f"{stage}.{name}": a for stage, arrays in found.items() for name, a in arrays.items()}}


def judged(trace_files: TraceFiles, arrays: dict[str, np.ndarray], **changes: Any) -> Verdict:
    (trace_files.tested / ARRAY_FILE).unlink()
    trace_files.write(trace_files.tested, make_trace(entry_point="server", **changes), arrays)
    return trace_files.decide_verdict()


def at(verdict: Verdict, stage: Stage) -> StageDiff:
    return verdict.stage(stage)


def test_what_is_listed_matches_and_says_how_little_it_is(trace_files: TraceFiles) -> None:
    verdict = judged(trace_files, listed())
    assert verdict.kind is VerdictKind.MATCH
    prefill, decode = at(verdict, Stage.PREFILL), at(verdict, Stage.DECODE)
    assert prefill.status is decode.status is DiffStatus.MATCH
    assert prefill.metrics["top_logprobs"] == 3 * len(IDS)
    assert f"the {3 * len(IDS)} log-probabilities that the vllm server returns" in prefill.message
    assert decode.metrics["positions"] == 2


@pytest.mark.parametrize(("off", "status"), [(1e-6, DiffStatus.MATCH), (1e-4, DiffStatus.MISMATCH)])
def test_a_listed_log_probability_is_held_against_the_noise(
    trace_files: TraceFiles, off: float, status: DiffStatus
) -> None:
    rows = top(PREFILL, list(range(len(IDS))))
    rows["logprobs"][5, 1] += off
    verdict = judged(trace_files, listed(prefill=rows))
    found = at(verdict, Stage.PREFILL)
    assert found.status is status
    if status is DiffStatus.MISMATCH:
        assert found.metrics["worst_position"] == 5
        assert found.metrics["over_limit"] == 1
        assert "the largest difference at one position" in found.message
        assert verdict.first_divergence is Stage.PREFILL


@pytest.mark.parametrize("wrong", [np.nan, -np.inf])
def test_what_is_listed_and_no_number_differs(trace_files: TraceFiles, wrong: float) -> None:
    rows = top(DECODE, [0, 1])
    rows["logprobs"][1, 0] = wrong
    found = at(judged(trace_files, listed(decode=rows)), Stage.DECODE)
    assert found.status is DiffStatus.MISMATCH
    assert found.metrics["worst_position"] == len(IDS) + 1


def test_an_id_outside_the_vocabulary_differs(trace_files: TraceFiles) -> None:
    rows = top(DECODE, [0, 1])
    rows["ids"][0, 0] = 9999
    assert at(judged(trace_files, listed(decode=rows)), Stage.DECODE).status is DiffStatus.MISMATCH


def test_one_row_of_the_prompt_is_compared_alone(trace_files: TraceFiles) -> None:
    found = at(judged(trace_files, listed(prefill=top(PREFILL, [len(IDS) - 1]))), Stage.PREFILL)
    assert found.status is DiffStatus.MATCH
    assert f"at 1 of {len(IDS)} positions" in found.message


def test_rows_behind_another_token_have_no_counterpart(trace_files: TraceFiles) -> None:
    rows = top(DECODE, [0, 1])
    rows["logprobs"][1] += 5
    other = (CONTINUATION[0], 4, CONTINUATION[2])
    found = at(judged(trace_files, listed(decode=rows), continuation=other, greedy=other), Stage.DECODE)
    assert found.status is DiffStatus.MATCH
    assert found.metrics["positions"] == 1
    wrong = (4, *CONTINUATION[1:])
    found = at(judged(trace_files, listed(), continuation=wrong, greedy=wrong), Stage.DECODE)
    assert found.status is DiffStatus.NOT_COMPARED
    assert "the same tokens before it" in found.message


def test_another_generated_token_is_a_mismatch(trace_files: TraceFiles) -> None:
    other = (CONTINUATION[0], 4, CONTINUATION[2])
    verdict = judged(trace_files, listed(), continuation=other, greedy=other)
    assert (verdict.kind, verdict.first_divergence) == (VerdictKind.MISMATCH, Stage.GREEDY)


def test_an_equal_count_of_ids_is_no_match_and_lets_the_rest_be_compared(trace_files: TraceFiles) -> None:
    verdict = judged(trace_files, listed(), input_ids=None, prompt_tokens=len(IDS))
    found = at(verdict, Stage.INPUT_IDS)
    assert found.status is DiffStatus.NOT_COMPARED
    assert found.message == "vllm reports only the number of input ids: 12, as in the reference"
    assert at(verdict, Stage.DECODE).status is DiffStatus.MATCH


def test_another_count_of_ids_is_a_mismatch_with_both_numbers(trace_files: TraceFiles) -> None:
    verdict = judged(trace_files, listed(), input_ids=None, prompt_tokens=len(IDS) + 2)
    found = at(verdict, Stage.INPUT_IDS)
    assert found.status is DiffStatus.MISMATCH
    assert found.message.startswith("input_ids differ: 12 in the reference, 14 in vllm")
    assert verdict.first_divergence is Stage.INPUT_IDS
    assert at(verdict, Stage.PREFILL).message == "the ids differ, so the positions have no counterpart"
