"""Traces: spans hold exactly the embedded positions, and a record survives the disk."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.trace import (
    ARRAY_FILE,
    RECORD_FILE,
    Environment,
    Outcome,
    Span,
    Stage,
    Trace,
    read_trace,
)
from vlm_parity.util.errors import RecordError

positions = st.sets(st.integers(0, 200))


@given(positions)
def test_span_holds_exactly_its_positions(embedded: set[int]) -> None:
    span = Span.of("image", 0, embedded)
    assert {position for start, stop in span.runs for position in range(start, stop)} == embedded
    assert span.embedded == len(embedded)


@given(positions)
def test_runs_are_ordered_and_never_touch(embedded: set[int]) -> None:
    runs = Span.of("image", 0, embedded).runs
    assert all(start < stop for start, stop in runs)
    assert all(before[1] < after[0] for before, after in pairwise(runs))


@given(st.sets(st.integers(0, 200), min_size=1))
def test_offset_and_length_reach_from_first_to_last(embedded: set[int]) -> None:
    span = Span.of("video", 1, embedded)
    assert (span.offset, span.offset + span.length - 1) == (min(embedded), max(embedded))


def test_stages_of_the_front_end_need_no_weights() -> None:
    assert [stage for stage in Stage if stage.depth is Depth.TOKENS] == [
        Stage.PROMPT,
        Stage.INPUT_IDS,
        Stage.SPANS,
        Stage.ENCODER_BUDGET,
        Stage.MEDIA,
        Stage.POSITIONS,
    ]


def test_trace_survives_the_disk(tmp_path: Path) -> None:
    logits = np.arange(6, dtype=np.float32).reshape(2, 3)
    some_trace().write(tmp_path, {"prefill": logits.T.copy().T})
    assert read_trace(tmp_path) == some_trace()
    np.testing.assert_array_equal(load_file(tmp_path / ARRAY_FILE)["prefill"], logits)


def test_a_record_names_the_arrays_that_are_written_with_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="names \\['prefill'\\], the arrays are \\['decode'\\]"):
        some_trace().write(tmp_path, {"decode": np.zeros((1, 1), np.float32)})


def test_broken_record_is_named(tmp_path: Path) -> None:
    (tmp_path / RECORD_FILE).write_text('{"case": 1}')
    with pytest.raises(RecordError, match=RECORD_FILE):
        read_trace(tmp_path)


def some_trace() -> Trace:
    return Trace(
        case="one_image",
        case_digest="c",
        model="qwen2_vl",
        backend="vllm",
        depth=Depth.LOGITS,
        environment=Environment(python="3.11", platform="any", device="cpu", dtype="float32", packages={}),
        outcome=Outcome.CAPTURED,
        input_ids=(1, 2, 3),
        spans=(Span.of("image", 0, [1, 2]),),
        vocabulary={1: "a"},
        not_captured={Stage.VISION: "no hook"},
        arrays=("prefill",),
    )
