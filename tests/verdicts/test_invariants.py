"""Invariants of verdicts: a difference is never a match, and taking anything away never makes it one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.traces import (
    ARRAYS,
    CONTINUATION,
    ENCODER_BUDGET,
    FLOOR,
    IDS,
    IMAGE_INPUT,
    TraceFiles,
    make_trace,
)
from vlm_parity.schema.noise_floor import NoiseFloor, StageNoise
from vlm_parity.schema.trace import ARRAY_FILE, Span, Stage
from vlm_parity.schema.verdict import VerdictKind

Arrays = dict[str, np.ndarray]
Difference = tuple[Stage, dict[str, Any], Arrays]
"""The stage, changed fields of the record, changed arrays."""


def change_array(name: str) -> Callable[[int, float], Arrays]:
    """Return a function that changes one value of an array, clearly beyond any noise."""

    def change(index: int, amount: float) -> Arrays:
        changed = ARRAYS[name].copy()
        changed.flat[index % changed.size] += amount
        return {name: changed}

    return change


amounts = st.sampled_from([-1e6, -3.0, -1.0, 1.0, 3.0, 1e6, float("inf"), float("nan")])
whole_amounts = st.sampled_from([-3, -1, 1, 3])
indices = st.integers(0, 10_000)


def differ_in_array(stage: Stage, name: str, amount: st.SearchStrategy[Any]) -> st.SearchStrategy[Difference]:
    return st.builds(change_array(name), indices, amount).map(lambda arrays: (stage, {}, arrays))


def differ_in_record(
    stage: Stage, values: st.SearchStrategy[dict[str, Any]]
) -> st.SearchStrategy[Difference]:
    return values.map(lambda fields: (stage, fields, {}))


differences = st.one_of(
    differ_in_record(Stage.PROMPT, st.text().map(lambda text: {"prompt": f"{text}!"})),
    differ_in_record(
        Stage.INPUT_IDS,
        st.builds(
            lambda index, token: {"input_ids": (*IDS[:index], token, *IDS[index + 1 :])},
            # An id in the span of an image is replaced by its features, but it is compared all the same.
            st.integers(0, len(IDS) - 1),
            st.integers(13, 31),
        ),
    ),
    differ_in_record(
        Stage.SPANS,
        st.sets(st.integers(0, len(IDS) - 1), max_size=6)
        .filter(lambda positions: positions != {3, 4, 5, 6})
        .map(lambda positions: {"spans": (Span.of("image", 0, positions),)}),
    ),
    differ_in_record(
        Stage.ENCODER_BUDGET,
        whole_amounts.map(
            lambda more: {
                "encoder_budget": ENCODER_BUDGET.model_copy(update={"tokens": ENCODER_BUDGET.tokens + more})
            }
        ),
    ),
    differ_in_record(
        Stage.MEDIA,
        whole_amounts.map(
            lambda more: {"media": (IMAGE_INPUT.model_copy(update={"fields": {"grid": (1, 4, 4 + more)}}),)}
        ),
    ),
    differ_in_array(Stage.MEDIA, IMAGE_INPUT.tensor_name("pixel_values"), amounts),
    differ_in_array(Stage.POSITIONS, "positions", whole_amounts),
    *(differ_in_array(stage, stage, amounts) for stage in (Stage.VISION, Stage.PREFILL, Stage.DECODE)),
    differ_in_record(
        Stage.GREEDY,
        st.integers(13, 31).map(lambda token: {"greedy": (token, *CONTINUATION[1:])}),
    ),
)


def drop_field(side: str, name: str) -> Callable[[TraceFiles], None]:
    return lambda files: files.write(getattr(files, side), files.read(side).model_copy(update={name: None}))


def delete_arrays(side: str) -> Callable[[TraceFiles], None]:
    return lambda files: (getattr(files, side) / ARRAY_FILE).unlink(missing_ok=True)


def drop_array(side: str, name: str) -> Callable[[TraceFiles], None]:
    """Drop an array from the file and from the record."""

    def drop(files: TraceFiles) -> None:
        rest = {key: array for key, array in files.read_arrays(side).items() if key != name}
        files.write(getattr(files, side), files.read(side), rest)

    return drop


def drop_noise(stage: Stage) -> Callable[[TraceFiles], None]:
    def drop(files: TraceFiles) -> None:
        stages = {key: noise for key, noise in FLOOR.stages.items() if key is not stage}
        files.measured(NoiseFloor(FLOOR.record.model_copy(update={"stages": tuple(stages)}), stages))

    return drop


def raise_noise(stage: Stage) -> Callable[[TraceFiles], None]:
    endless = StageNoise(*(np.full_like(rows, np.inf) for rows in vars(FLOOR.stages[stage]).values()))
    return lambda files: files.measured(NoiseFloor(FLOOR.record, {**FLOOR.stages, stage: endless}))


FIELDS = ("prompt", "input_ids", "spans", "media", "continuation", "greedy", "encoder_budget")
REMOVALS: dict[str, Callable[[TraceFiles], None]] = {
    **{f"{name} of {side}": drop_field(side, name) for side in ("reference", "tested") for name in FIELDS},
    **{f"{name} of {side}": drop_array(side, name) for side in ("reference", "tested") for name in ARRAYS},
    **{f"the arrays of {side}": delete_arrays(side) for side in ("reference", "tested")},
    **{f"the noise at {stage}": drop_noise(stage) for stage in FLOOR.stages},
    **{f"the end of noise at {stage}": raise_noise(stage) for stage in FLOOR.stages},
}


def write_traces(folder: str, difference: Difference) -> TraceFiles:
    """Write two traces that differ; the engine determined the size of a medium."""
    _, fields, arrays = difference
    files = TraceFiles(Path(folder))
    tested = make_trace(**{"max_size_modality": "image", **fields})
    files.write(files.tested, tested, {**ARRAYS, **arrays})
    return files


@settings(max_examples=200, deadline=None)
@given(difference=differences)
def test_a_difference_at_any_stage_is_found_at_that_stage(difference: Difference) -> None:
    with tempfile.TemporaryDirectory() as folder:
        verdict = write_traces(folder, difference).decide_verdict()
    assert (verdict.kind, verdict.first_divergence) == (VerdictKind.MISMATCH, difference[0])


@settings(max_examples=300, deadline=None)
@given(difference=differences, removals=st.lists(st.sampled_from(sorted(REMOVALS)), min_size=1, max_size=3))
def test_taking_anything_away_never_makes_a_difference_pass(
    difference: Difference, removals: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = write_traces(folder, difference)
        for removal in removals:
            REMOVALS[removal](files)
        assert not files.decide_verdict().kind.passes
