"""Positions from a prefix cache are not computed: the stages compare the rest and report it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.traces import (
    ARRAYS,
    CONTINUATION,
    FEATURES,
    IDS,
    IMAGE,
    POSITIONS,
    PREFILL,
    TraceFiles,
    make_trace,
)
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus, LogitEvidence, Verdict

CACHED = 5
"""Two of the image's four positions."""


def behind(cached_tokens: int, **arrays: np.ndarray) -> dict[str, np.ndarray]:
    """Return the arrays of a trace whose start was cached."""
    skipped = sum(position < cached_tokens for position in IMAGE.positions)
    remaining: dict[str, np.ndarray] = {
        "positions": POSITIONS[:, cached_tokens:],
        "vision": FEATURES[skipped:],
        "prefill": PREFILL[cached_tokens:],
    }
    return {**ARRAYS, **remaining, **arrays}


def judged(trace_files: TraceFiles, cached_tokens: int = CACHED, **arrays: np.ndarray) -> Verdict:
    trace_files.write(
        trace_files.tested, make_trace(cached_tokens=cached_tokens), behind(cached_tokens, **arrays)
    )
    return trace_files.decide_verdict()


@pytest.mark.parametrize("stage", [Stage.POSITIONS, Stage.VISION, Stage.PREFILL])
def test_what_was_run_is_compared_with_its_counterpart(trace_files: TraceFiles, stage: Stage) -> None:
    found = judged(trace_files).stage(stage)
    assert found.status is DiffStatus.MATCH
    assert found.metrics["cached_tokens"] == CACHED
    assert found.metrics["positions"] == (2 if stage is Stage.VISION else len(IDS) - CACHED)


def test_a_row_that_differs_is_named_by_its_place_in_the_prompt(trace_files: TraceFiles) -> None:
    moved = PREFILL[CACHED:].copy()
    moved[2, moved[2].argmax()] += 1
    found = judged(trace_files, prefill=moved).stage(Stage.PREFILL)
    assert found.status is DiffStatus.MISMATCH
    assert found.metrics["worst_position"] == CACHED + 2
    assert found.message.endswith("not compared: the first 5 positions, from the prefix cache")
    assert isinstance(found.evidence, LogitEvidence)
    assert (found.evidence.first_position, len(found.evidence.max_abs)) == (CACHED, len(IDS) - CACHED)


def test_a_row_too_few_is_a_mismatch(trace_files: TraceFiles) -> None:
    found = judged(trace_files, prefill=PREFILL[CACHED + 1 :]).stage(Stage.PREFILL)
    assert found.status is DiffStatus.MISMATCH
    assert found.message.startswith("prefill logits have different shapes: 7 rows expected")


def test_a_position_that_differs_is_named_by_its_place_in_the_prompt(trace_files: TraceFiles) -> None:
    moved = POSITIONS[:, CACHED:].copy()
    moved[0, 1] += 1
    found = judged(trace_files, positions=moved).stage(Stage.POSITIONS)
    assert (found.status, found.metrics["first_different"]) == (DiffStatus.MISMATCH, CACHED + 1)
    assert found.metrics["different_in_spans"] == 1
    assert "\n>  6      " in found.message


def test_a_feature_that_differs_is_found_behind_the_cached_ones(trace_files: TraceFiles) -> None:
    moved = FEATURES[2:].copy()
    moved[1] += 1
    found = judged(trace_files, vision=moved).stage(Stage.VISION)
    assert found.status is DiffStatus.MISMATCH
    assert ">  image 0  1 of 2" in found.message


def test_an_image_that_was_cached_as_a_whole_is_not_compared(trace_files: TraceFiles) -> None:
    found = judged(trace_files, cached_tokens=7).stage(Stage.VISION)
    assert found.status is DiffStatus.NOT_COMPARED
    assert found.message == "all positions of the media came from the prefix cache"


def test_a_prompt_that_was_cached_as_a_whole_is_not_compared(trace_files: TraceFiles) -> None:
    verdict = judged(trace_files, cached_tokens=len(IDS))
    found = verdict.stage(Stage.PREFILL)
    assert (found.status, found.message) == (
        DiffStatus.NOT_COMPARED,
        "all 12 positions came from the prefix cache",
    )
    assert verdict.stage(Stage.DECODE).metrics["positions"] == len(CONTINUATION) - 1
