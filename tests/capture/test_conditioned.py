"""Values that an engine is given are those of the trace, and it is shown to have run on them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.support.traces import (
    ARRAYS,
    CONTINUATION,
    FEATURES,
    IDS,
    IMAGE,
    PIXELS,
    POSITIONS,
    PREFILL,
    TraceFiles,
    make_trace,
)
from vlm_parity.backends.base import CapturedMedium, Inputs, Outputs, ReferenceValues
from vlm_parity.capture.conditioned import check_given, read_reference_values
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.trace import DECODE_POSITIONS
from vlm_parity.util.errors import UnsupportedError

DECODED = np.array([[12, 13]] * 3)


@pytest.fixture
def values(trace_files: TraceFiles) -> ReferenceValues:
    arrays = {**ARRAYS, DECODE_POSITIONS: DECODED}
    trace_files.write(trace_files.reference, make_trace("transformers"), arrays)
    return read_reference_values(trace_files.reference, Condition.FEATURES)


def make_inputs(**changes: Any) -> Inputs:
    media = (CapturedMedium("image", 0, {"grid": (1, 4, 4)}, {"pixel_values": PIXELS}),)
    return replace(Inputs(None, IDS, (IMAGE,), media=media), **changes)


def make_outputs(**changes: Any) -> Outputs:
    embeddings = np.zeros((len(IDS), FEATURES.shape[1]), np.float32)
    embeddings[IMAGE.positions] = FEATURES
    outputs = Outputs(PREFILL, None, CONTINUATION, (), POSITIONS, embeddings, decode_positions=DECODED)
    return replace(outputs, **changes)


def test_the_values_are_those_of_the_trace(values: ReferenceValues) -> None:
    assert (values.input_ids, values.spans) == (IDS, (IMAGE,))
    assert values.features is not None
    assert (values.features == FEATURES).all()
    assert (values.positions == POSITIONS).all()
    assert values.decode_positions is not None
    assert np.array_equal(values.decode_positions, DECODED)
    (medium,) = values.media
    assert (medium.arrays["pixel_values"] == PIXELS).all()


@pytest.mark.parametrize("missing", [{"positions": None}, {"vision": None}])
def test_a_trace_that_lacks_a_value_cannot_give_it(trace_files: TraceFiles, missing: dict[str, None]) -> None:
    arrays = {name: array for name, array in ARRAYS.items() if name not in missing}
    trace_files.write(trace_files.reference, make_trace("transformers"), arrays)
    with pytest.raises(UnsupportedError, match="the reference has no"):
        read_reference_values(trace_files.reference, Condition.FEATURES)


def test_a_run_on_the_given_values_is_believed(values: ReferenceValues) -> None:
    for condition in Condition:
        check_given(condition, values, make_inputs(), make_outputs(), "float32")
    check_given(Condition.FEATURES, values, make_inputs(), make_outputs(decode_positions=None), "float32")


def test_features_may_be_rounded_to_the_dtype_of_the_engine(values: ReferenceValues) -> None:
    torch = pytest.importorskip("torch")
    embeddings = make_outputs().embeddings
    rounded = torch.from_numpy(embeddings).to(torch.bfloat16).float().numpy()
    check_given(Condition.FEATURES, values, make_inputs(), make_outputs(embeddings=rounded), "bfloat16")
    with pytest.raises(UnsupportedError, match="other features"):
        check_given(Condition.FEATURES, values, make_inputs(), make_outputs(embeddings=rounded), "float32")


def test_a_cached_start_is_not_looked_at(values: ReferenceValues) -> None:
    cached = 4  # in the middle of the image
    outputs = make_outputs()
    assert outputs.positions is not None
    assert outputs.embeddings is not None
    shorter = make_outputs(
        positions=outputs.positions[:, cached:],
        embeddings=outputs.embeddings[cached:],
        cached_tokens=cached,
    )
    check_given(Condition.FEATURES, values, make_inputs(), shorter, "float32")


@pytest.mark.parametrize(
    ("condition", "inputs", "outputs", "message"),
    [
        (Condition.FEATURES, {"input_ids": IDS[1:]}, {}, "other ids or spans"),
        (Condition.MEDIA, {"spans": ()}, {}, "other ids or spans"),
        (Condition.MEDIA, {"media": None}, {}, "other tower inputs"),
        (Condition.FEATURES, {}, {"positions": POSITIONS + 1}, "ran at other positions"),
        (Condition.FEATURES, {}, {"positions": None}, "does not show whether it ran at the positions"),
        (Condition.FEATURES, {}, {"decode_positions": DECODED + 1}, "decoded at other positions"),
        (Condition.FEATURES, {}, {"embeddings": None}, "does not show whether it ran on the features"),
    ],
)
def test_a_run_on_other_values_is_not_believed(
    values: ReferenceValues,
    condition: Condition,
    inputs: dict[str, Any],
    outputs: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(UnsupportedError, match=message):
        check_given(condition, values, make_inputs(**inputs), make_outputs(**outputs), "float32")


@pytest.mark.parametrize(
    "medium",
    [
        CapturedMedium("image", 0, {"grid": (1, 4, 4)}, {"pixel_values": PIXELS + 1}),
        CapturedMedium("image", 0, {"grid": (1, 2, 8)}, {"pixel_values": PIXELS}),
        CapturedMedium("image", 0, {"grid": (1, 4, 4)}, {}),
        CapturedMedium("image", 1, {"grid": (1, 4, 4)}, {"pixel_values": PIXELS}),
    ],
)
def test_other_tower_inputs_are_not_believed(values: ReferenceValues, medium: CapturedMedium) -> None:
    with pytest.raises(UnsupportedError, match="other tower inputs"):
        check_given(Condition.MEDIA, values, make_inputs(media=(medium,)), make_outputs(), "float32")
