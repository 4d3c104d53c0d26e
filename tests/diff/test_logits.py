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
    OnDisk,
    trace,
)
from vlm_parity.diff.noise_tolerance import ROW_LIMIT
from vlm_parity.schema.noise_floor import NoiseFloor, StageNoise
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import LogitEvidence, StageDiff, Status, VerdictKind

LIMIT = f"{ROW_LIMIT:.3g}"
ENTRY = ROW_LIMIT * 3 * NOISE
"""The largest difference of one entry that counts as noise."""


def diff(on_disk: OnDisk, stage: Stage = Stage.PREFILL, **logits: np.ndarray) -> StageDiff:
    on_disk.write(on_disk.tested, trace(), {**ARRAYS, **logits})
    return on_disk.judge().stage(stage)


def moved(logits: np.ndarray, row: int, by: float) -> np.ndarray:
    """The same logits, one row's most likely token moved."""
    changed = logits.copy()
    changed[row, changed[row].argmax()] += by
    return changed


def test_a_difference_as_a_user_sees_it(on_disk: OnDisk) -> None:
    reference = np.zeros((len(IDS), 32), dtype=np.float32)
    reference[:, [1, 3, 8, 11, 12]] = 5, 4, 6, 9, 8
    tested = reference.copy()
    tested[5, 12] += 3
    tested[6, 12] += 1e-3
    on_disk.write(on_disk.reference, trace("transformers"), {**ARRAYS, "prefill": reference})
    assert diff(on_disk, prefill=tested).message == dedent(f"""\
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


def test_a_match_keeps_its_evidence(on_disk: OnDisk) -> None:
    found = diff(on_disk)
    assert (found.status, found.message) == (Status.MATCH, "")
    assert isinstance(found.evidence, LogitEvidence)
    assert found.evidence.max_abs == (0,) * len(IDS)
    assert found.metrics["vocabulary"] == 32


@pytest.mark.parametrize(("by", "status"), [(ENTRY / 2, Status.MATCH), (ENTRY * 2, Status.MISMATCH)])
def test_the_limit_parts_noise_from_a_fault(on_disk: OnDisk, by: float, status: Status) -> None:
    flat = np.zeros_like(PREFILL)  # where a token has few others above it, all of a change shows
    on_disk.write(on_disk.reference, trace("transformers"), {**ARRAYS, "prefill": flat})
    assert diff(on_disk, prefill=moved(flat, 5, by)).status is status


def test_many_small_differences_count_where_no_single_one_does(on_disk: OnDisk) -> None:
    rows = RANDOM.normal(0, 1.5 * NOISE, PREFILL.shape)
    found = diff(on_disk, prefill=(PREFILL.astype(np.float64) + rows).astype(np.float32))
    assert found.metrics["position_ratio"] < ROW_LIMIT
    assert found.metrics["entry_ratio"] < ROW_LIMIT
    assert found.status is Status.MISMATCH
    assert found.message.splitlines()[1].startswith("the root mean square over all positions is 1.")


def test_a_floor_that_was_not_measured_leaves_nothing_to_compare_with(on_disk: OnDisk) -> None:
    environment = trace().environment.model_copy(update={"dtype": "bfloat16"})
    on_disk.write(on_disk.tested, trace(environment=environment), ARRAYS)
    verdict = on_disk.judge()
    assert verdict.stage(Stage.PREFILL).message == "no noise floor in bfloat16 was measured"
    assert verdict.kind is VerdictKind.INVALID


def test_the_floor_is_that_of_the_tested_dtype(on_disk: OnDisk) -> None:
    coarse = {name: StageNoise(noise.rms * 1e4, noise.largest * 1e4) for name, noise in FLOOR.stages.items()}
    on_disk.measured(NoiseFloor(FLOOR.record.model_copy(update={"dtype": "bfloat16"}), coarse))
    changed = {**ARRAYS, "prefill": moved(PREFILL, 5, 1e-2)}
    environment = trace().environment.model_copy(update={"dtype": "bfloat16"})
    on_disk.write(on_disk.tested, trace(environment=environment), changed)
    found = on_disk.judge().stage(Stage.PREFILL)
    assert found.status is Status.MATCH


@pytest.mark.parametrize("row", [0, len(IDS) - 1])
def test_no_position_is_left_out(on_disk: OnDisk, row: int) -> None:
    found = diff(on_disk, prefill=moved(PREFILL, row, 1))
    assert (found.metrics["over_limit"], found.metrics["worst_position"]) == (1, row)


def test_decode_counts_its_positions_from_the_end_of_the_prompt(on_disk: OnDisk) -> None:
    found = diff(on_disk, Stage.DECODE, decode=moved(DECODE, 1, 1))
    assert (found.status, found.metrics["worst_position"]) == (Status.MISMATCH, len(IDS) + 1)


@pytest.mark.parametrize(
    ("stage", "logits", "message"),
    [
        (
            Stage.PREFILL, PREFILL[:-1],
            "prefill logits have other shapes: 12 rows expected, reference [12, 32], vllm [11, 32]",
        ),
        (
            Stage.PREFILL, PREFILL[:, :-1],
            "prefill logits have other shapes: 12 rows expected, reference [12, 32], vllm [12, 31]",
        ),
        (
            Stage.DECODE, DECODE[:1],
            "decode logits have other shapes: 2 rows expected, reference [2, 32], vllm [1, 32]",
        ),
    ],
)  # fmt: skip
def test_a_missing_row_or_column_is_a_mismatch(
    on_disk: OnDisk, stage: Stage, logits: np.ndarray, message: str
) -> None:
    found = diff(on_disk, stage, **{stage.value: logits})
    assert (found.status, found.message) == (Status.MISMATCH, message)


def test_rows_that_both_sides_lack_are_a_mismatch_too(on_disk: OnDisk) -> None:
    on_disk.write(on_disk.reference, trace("transformers"), {**ARRAYS, "prefill": PREFILL[:-1]})
    assert diff(on_disk, prefill=PREFILL[:-1]).status is Status.MISMATCH


def test_a_backend_that_was_forced_along_other_tokens_is_found_out(on_disk: OnDisk) -> None:
    on_disk.write(on_disk.tested, trace(continuation=(8, 8, 8)))
    found = on_disk.judge().stage(Stage.DECODE)
    assert (found.status, found.message) == (
        Status.MISMATCH, "vllm was forced along other tokens: (8, 8, 8)",
    )  # fmt: skip


def test_one_new_token_leaves_nothing_to_compare(on_disk: OnDisk) -> None:
    one = {"continuation": CONTINUATION[:1], "greedy": CONTINUATION[:1]}
    for folder, name in ((on_disk.reference, "transformers"), (on_disk.tested, "vllm")):
        on_disk.write(folder, trace(name, **one), {**ARRAYS, "decode": DECODE[:0]})
    found = on_disk.judge().stage(Stage.DECODE)
    assert (found.status, found.message) == (
        Status.NOT_COMPARED,
        "no position to compare: the case asks for one new token only",
    )


@pytest.mark.parametrize(
    ("side", "message"),
    [
        ("reference", "the reference kept no logits for this stage"),
        ("tested", "vllm kept no logits for this stage"),
    ],
)
def test_logits_that_were_not_kept_are_not_compared(on_disk: OnDisk, side: str, message: str) -> None:
    (getattr(on_disk, side) / "tensors.safetensors").unlink()
    found = on_disk.judge().stage(Stage.PREFILL)
    assert (found.status, found.message) == (Status.NOT_COMPARED, message)
