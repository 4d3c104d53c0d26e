"""Traces that lack something: never a match."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.traces import ARRAYS, FLOOR, TraceFiles, make_trace
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.noise_floor import FLOOR_FILE, NoiseFloor, StageNoise, get_floor_folder
from vlm_parity.schema.trace import ARRAY_FILE, Stage
from vlm_parity.schema.trace_arrays import open_arrays
from vlm_parity.schema.verdict import VerdictKind
from vlm_parity.verdicts.trace_checks import find_trace_problem

SIDES = {"reference": ("transformers", "the reference"), "tested": ("vllm", "vllm")}


def decide(trace_files: TraceFiles) -> tuple[VerdictKind, str]:
    verdict = trace_files.decide_verdict()
    return verdict.kind, verdict.reason


@pytest.mark.parametrize("side", SIDES)
def test_arrays_that_are_gone_hide_no_mismatch(trace_files: TraceFiles, side: str) -> None:
    other = {**ARRAYS, "vision": ARRAYS["vision"] + 1}
    trace_files.write(trace_files.tested, make_trace(), other)
    assert decide(trace_files)[0] is VerdictKind.MISMATCH
    (getattr(trace_files, side) / ARRAY_FILE).unlink()
    assert decide(trace_files) == (
        VerdictKind.INVALID,
        f"the trace of {SIDES[side][1]} lacks arrays that its record names: decode, "
        "media.image.0.pixel_values, positions, prefill, vision",
    )


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("side", SIDES)
def test_each_missing_array_is_named(trace_files: TraceFiles, side: str, name: str) -> None:
    backend, label = SIDES[side]
    folder = getattr(trace_files, side)
    rest = {key: array for key, array in ARRAYS.items() if key != name}
    trace_files.write(folder, make_trace(backend), rest)
    rewritten = make_trace(backend)
    rewritten.write(folder)
    with open_arrays(folder) as arrays:
        problem = find_trace_problem(label, rewritten, arrays, Depth.LOGITS)
    assert problem == f"the trace of {label} lacks arrays that its record names: {name}"


def test_an_array_that_the_record_does_not_name_is_a_contradiction(trace_files: TraceFiles) -> None:
    more = {**ARRAYS, "more": np.zeros(1, np.float32)}
    make_trace(arrays=tuple(sorted(more))).write(trace_files.tested, more)
    assert decide(trace_files) == (
        VerdictKind.INVALID,
        "the trace of vllm holds arrays that its record does not name: more",
    )


@pytest.mark.parametrize("content", [b"", b"not arrays", b"\xff" * 100])
@pytest.mark.parametrize("side", SIDES)
def test_arrays_that_cannot_be_read_are_named(trace_files: TraceFiles, side: str, content: bytes) -> None:
    file = getattr(trace_files, side) / ARRAY_FILE
    file.write_bytes(content)
    kind, reason = decide(trace_files)
    assert (kind, reason.startswith(f"{file}: not readable arrays")) == (VerdictKind.INVALID, True)


def test_a_noise_floor_that_cannot_be_read_is_named(trace_files: TraceFiles) -> None:
    file = get_floor_folder(trace_files.reference, "float32") / FLOOR_FILE
    file.write_bytes(file.read_bytes()[:-4])
    kind, reason = decide(trace_files)
    assert (kind, reason.startswith(f"{file}: not a readable noise floor")) == (VerdictKind.INVALID, True)


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"prompt": None}, "prompt"),
        ({"input_ids": None}, "input_ids"),
        ({"spans": None}, "spans"),
        ({"media": None}, "media"),
        ({"greedy": None}, "greedy"),
        ({"max_size_modality": "image", "encoder_budget": None}, "encoder_budget"),
        ({"prompt": None, "media": None}, "prompt, media"),
    ],
)
def test_a_missing_stage_needs_a_reason(
    trace_files: TraceFiles, changes: dict[str, Any], missing: str
) -> None:
    trace_files.write(trace_files.tested, make_trace(**changes))
    kind, reason = decide(trace_files)
    assert kind is VerdictKind.INVALID
    assert reason.startswith(f"the trace of vllm lacks {missing} and states no reason")
    stated = {Stage(name): "not exposed" for name in missing.split(", ")}
    trace_files.write(trace_files.tested, make_trace(**changes, not_captured=stated))
    assert decide(trace_files)[0] is VerdictKind.MATCH


def test_a_reference_of_lesser_depth_is_no_reference(trace_files: TraceFiles) -> None:
    front_end = {name: array for name, array in ARRAYS.items() if name in {"positions"} or "media" in name}
    shallow = make_trace("transformers", depth=Depth.TOKENS, greedy=None, continuation=None)
    trace_files.write(trace_files.reference, shallow, front_end)
    kind, reason = decide(trace_files)
    assert kind is VerdictKind.INVALID
    assert reason.startswith("the trace of the reference lacks vision, prefill, decode, greedy and states no")


def test_spans_without_media_are_a_contradiction(trace_files: TraceFiles) -> None:
    for folder, backend in ((trace_files.reference, "transformers"), (trace_files.tested, "vllm")):
        trace_files.write(folder, make_trace(backend, media=()))
    assert decide(trace_files) == (
        VerdictKind.INVALID,
        "the trace of the reference has spans of media, but no media",
    )


@pytest.mark.parametrize("bad", [np.inf, np.nan])
@pytest.mark.parametrize("stage", [Stage.VISION, Stage.PREFILL, Stage.DECODE])
def test_a_noise_floor_that_is_no_number_hides_no_mismatch(
    trace_files: TraceFiles, stage: Stage, bad: float
) -> None:
    other = {**ARRAYS, stage.value: ARRAYS[stage.value] * 2}
    trace_files.write(trace_files.tested, make_trace(), other)
    noise = FLOOR.stages[stage]
    endless = StageNoise(noise.rms, np.full_like(noise.largest, bad))
    trace_files.measured(NoiseFloor(FLOOR.record, {**FLOOR.stages, stage: endless}))
    assert decide(trace_files) == (
        VerdictKind.INVALID,
        f"the reference is not valid: its noise floor in float32 is not finite at {stage}",
    )


def test_a_noise_floor_without_a_stage_hides_no_mismatch(trace_files: TraceFiles) -> None:
    trace_files.write(trace_files.tested, make_trace(), {**ARRAYS, "vision": ARRAYS["vision"] + 1})
    stages: dict[Stage, StageNoise] = {
        stage: noise for stage, noise in FLOOR.stages.items() if stage is not Stage.VISION
    }
    record = FLOOR.record.model_copy(update={"stages": tuple(stages)})
    trace_files.measured(NoiseFloor(record, stages))
    assert decide(trace_files) == (
        VerdictKind.INVALID,
        "the reference is not valid: its noise floor in float32 was not measured at vision",
    )


def test_a_noise_floor_of_other_rows_is_none(trace_files: TraceFiles) -> None:
    noise = FLOOR.stages[Stage.PREFILL]
    one_row = StageNoise(noise.rms[:, :1], noise.largest[:, :1])
    trace_files.measured(NoiseFloor(FLOOR.record, {**FLOOR.stages, Stage.PREFILL: one_row}))
    kind, reason = decide(trace_files)
    assert (kind, reason.endswith("does not have the 12 rows of the reference at prefill")) == (
        VerdictKind.INVALID,
        True,
    )
