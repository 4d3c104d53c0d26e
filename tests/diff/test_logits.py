"""Logits: each position against the noise floor, the worst one shown, and no row left out."""

from __future__ import annotations

from textwrap import dedent

import numpy as np
import pytest

from tests.support.traces import (
    ARRAYS,
    CONTINUATION,
    DECODE,
    FLOOR,
    IDS,
    NOISE,
    PREFILL,
    RANDOM,
    TraceFiles,
    make_trace,
)
from vlm_parity.diff.noise_tolerance import ROW_LIMIT
from vlm_parity.schema.noise_floor import NoiseFloor, StageNoise
from vlm_parity.schema.trace import Outcome, Stage
from vlm_parity.schema.verdict import DiffStatus, LogitEvidence, StageDiff, VerdictKind

LIMIT = f"{ROW_LIMIT:.3g}"
ENTRY = ROW_LIMIT * 3 * NOISE
"""The largest difference of one entry that counts as noise."""


def diff(trace_files: TraceFiles, stage: Stage = Stage.PREFILL, **logits: np.ndarray) -> StageDiff:
    trace_files.write(trace_files.tested, make_trace(), {**ARRAYS, **logits})
    return trace_files.decide_verdict().stage(stage)


def moved(logits: np.ndarray, row: int, by: float) -> np.ndarray:
    """Return the same logits with another most likely token in one row."""
    changed = logits.copy()
    changed[row, changed[row].argmax()] += by
    return changed


def test_a_difference_as_a_user_sees_it(trace_files: TraceFiles) -> None:
    reference = np.zeros((len(IDS), 32), dtype=np.float32)
    reference[:, [1, 3, 8, 11, 12]] = 5, 4, 6, 9, 8
    tested = reference.copy()
    tested[5, 12] += 3
    tested[6, 12] += 1e-3
    trace_files.write(trace_files.reference, make_trace("transformers"), {**ARRAYS, "prefill": reference})
    assert diff(trace_files, prefill=tested).message == dedent(f"""\
        prefill log-probabilities differ at 2 of 12 positions
        the root mean square at one position is 1.75e+06 times the noise floor (limit {LIMIT}); \
the floor is transformers' own float32 against its float64, 2 runs
        worst at position 5; max abs 1.77, rms 0.506, largest KL 1, same top-1 at 91.7%
        top 5 at position 5:
           reference  logprob    vllm       logprob
        1   cat (11)  -0.368837  . (12)     -0.136203
        2  . (12)     -1.368837   cat (11)  -2.136203
        3  A (8)      -3.368837  A (8)      -5.136203
        4  Look: (1)  -4.368837  Look: (1)  -6.136203
        5  What (3)   -5.368837  What (3)   -7.136203""")


def test_a_match_keeps_its_evidence(trace_files: TraceFiles) -> None:
    found = diff(trace_files)
    assert (found.status, found.message) == (DiffStatus.MATCH, "")
    assert isinstance(found.evidence, LogitEvidence)
    assert found.evidence.max_abs == (0,) * len(IDS)
    assert found.metrics["vocabulary"] == 32


@pytest.mark.parametrize(("by", "status"), [(ENTRY / 2, DiffStatus.MATCH), (ENTRY * 2, DiffStatus.MISMATCH)])
def test_the_limit_parts_noise_from_a_fault(trace_files: TraceFiles, by: float, status: DiffStatus) -> None:
    flat = np.zeros_like(PREFILL)  # where a token has few others above it, all of a change shows
    trace_files.write(trace_files.reference, make_trace("transformers"), {**ARRAYS, "prefill": flat})
    assert diff(trace_files, prefill=moved(flat, 5, by)).status is status


def test_many_small_differences_count_where_no_single_one_does(trace_files: TraceFiles) -> None:
    rows = RANDOM.normal(0, 1.5 * NOISE, PREFILL.shape)
    found = diff(trace_files, prefill=(PREFILL.astype(np.float64) + rows).astype(np.float32))
    assert found.metrics["position_ratio"] < ROW_LIMIT
    assert found.metrics["entry_ratio"] < ROW_LIMIT
    assert found.status is DiffStatus.MISMATCH
    assert found.message.splitlines()[1].startswith("the root mean square over all positions is 1.")


def test_a_floor_that_was_not_measured_leaves_nothing_to_compare_with(trace_files: TraceFiles) -> None:
    environment = make_trace().environment.model_copy(update={"dtype": "bfloat16"})
    trace_files.write(trace_files.tested, make_trace(environment=environment), ARRAYS)
    verdict = trace_files.decide_verdict()
    assert verdict.stage(Stage.PREFILL).message == "no noise floor in bfloat16 was measured"
    assert verdict.kind is VerdictKind.INVALID


def test_the_floor_is_that_of_the_tested_dtype(trace_files: TraceFiles) -> None:
    coarse = {name: StageNoise(noise.rms * 1e4, noise.largest * 1e4) for name, noise in FLOOR.stages.items()}
    trace_files.measured(NoiseFloor(FLOOR.record.model_copy(update={"dtype": "bfloat16"}), coarse))
    changed = {**ARRAYS, "prefill": moved(PREFILL, 5, 1e-2)}
    environment = make_trace().environment.model_copy(update={"dtype": "bfloat16"})
    trace_files.write(trace_files.tested, make_trace(environment=environment), changed)
    found = trace_files.decide_verdict().stage(Stage.PREFILL)
    assert found.status is DiffStatus.MATCH


@pytest.mark.parametrize("row", [0, len(IDS) - 1])
def test_no_position_is_left_out(trace_files: TraceFiles, row: int) -> None:
    found = diff(trace_files, prefill=moved(PREFILL, row, 1))
    assert (found.metrics["over_limit"], found.metrics["worst_position"]) == (1, row)


def test_decode_counts_its_positions_from_the_end_of_the_prompt(trace_files: TraceFiles) -> None:
    found = diff(trace_files, Stage.DECODE, decode=moved(DECODE, 1, 1))
    assert (found.status, found.metrics["worst_position"]) == (DiffStatus.MISMATCH, len(IDS) + 1)


@pytest.mark.parametrize(
    ("stage", "logits", "message"),
    [
        (
            Stage.PREFILL, PREFILL[:-1],
            "prefill logits have different shapes: 12 rows expected, reference [12, 32], vllm [11, 32]",
        ),
        (
            Stage.PREFILL, PREFILL[:, :-1],
            "prefill logits have different shapes: 12 rows expected, reference [12, 32], vllm [12, 31]",
        ),
        (
            Stage.DECODE, DECODE[:1],
            "decode logits have different shapes: 2 rows expected, reference [2, 32], vllm [1, 32]",
        ),
    ],
)  # fmt: skip
def test_a_missing_row_or_column_is_a_mismatch(
    trace_files: TraceFiles, stage: Stage, logits: np.ndarray, message: str
) -> None:
    found = diff(trace_files, stage, **{stage.value: logits})
    assert (found.status, found.message) == (DiffStatus.MISMATCH, message)


def test_rows_that_both_sides_lack_are_a_mismatch_too(trace_files: TraceFiles) -> None:
    trace_files.write(trace_files.reference, make_trace("transformers"), {**ARRAYS, "prefill": PREFILL[:-1]})
    assert diff(trace_files, prefill=PREFILL[:-1]).status is DiffStatus.MISMATCH


def test_a_backend_that_was_forced_along_other_tokens_is_found_out(trace_files: TraceFiles) -> None:
    trace_files.write(trace_files.tested, make_trace(continuation=(8, 8, 8)))
    found = trace_files.decide_verdict().stage(Stage.DECODE)
    assert (found.status, found.message) == (
        DiffStatus.MISMATCH, "vllm decoded along different tokens: (8, 8, 8)",
    )  # fmt: skip


def test_one_new_token_leaves_nothing_to_compare(trace_files: TraceFiles) -> None:
    one = {"continuation": CONTINUATION[:1], "greedy": CONTINUATION[:1]}
    for folder, name in ((trace_files.reference, "transformers"), (trace_files.tested, "vllm")):
        trace_files.write(folder, make_trace(name, **one), {**ARRAYS, "decode": DECODE[:0]})
    found = trace_files.decide_verdict().stage(Stage.DECODE)
    assert (found.status, found.message) == (
        DiffStatus.NOT_COMPARED,
        "no position to compare: the case generates only one token",
    )


@pytest.mark.parametrize(("side", "message"), [("reference", "the reference"), ("tested", "vllm")])
def test_logits_that_were_not_kept_are_not_compared(trace_files: TraceFiles, side: str, message: str) -> None:
    backend = "transformers" if side == "reference" else "vllm"
    trace_files.write(getattr(trace_files, side), make_trace(backend, outcome=Outcome.ERROR))
    (getattr(trace_files, side) / "tensors.safetensors").unlink()
    found = trace_files.decide_verdict().stage(Stage.PREFILL)
    assert (found.status, found.message) == (DiffStatus.NOT_COMPARED, f"{message}: error")
