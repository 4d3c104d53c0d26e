"""Values of the reference for an engine that is to run on them, and the proof that it did."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vlm_parity.backends.base import CapturedMedium, Inputs, Outputs, ReferenceValues
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.engine_setup import Dtype
from vlm_parity.schema.trace import DECODE_POSITIONS, MediaInput, Stage, read_trace
from vlm_parity.schema.trace_arrays import ArrayFile, open_arrays
from vlm_parity.util.errors import UnsupportedError


def read_reference_values(folder: Path, condition: Condition) -> ReferenceValues:
    """Read the values of a reference trace.

    Args:
        folder: of the trace.
        condition: what is to be given.

    Raises:
        UnsupportedError: the trace lacks one of them.
        RecordError: the folder does not hold a complete trace.
    """
    trace = read_trace(folder)
    with open_arrays(folder) as arrays:
        if trace.input_ids is None or trace.spans is None or arrays is None or Stage.POSITIONS not in arrays:
            raise UnsupportedError("the reference has no ids, spans or positions to give")
        has_features = Stage.VISION in arrays
        if condition is Condition.FEATURES and trace.spans and not has_features:
            raise UnsupportedError("the reference has no features to give")
        return ReferenceValues(
            input_ids=trace.input_ids,
            spans=trace.spans,
            positions=arrays.read(Stage.POSITIONS),
            decode_positions=arrays.read(DECODE_POSITIONS) if DECODE_POSITIONS in arrays else None,
            features=arrays.read(Stage.VISION) if has_features else None,
            deep_levels=trace.deep_levels,
            media=tuple(_read_medium(medium, arrays) for medium in trace.media or ()),
        )


def _read_medium(medium: MediaInput, arrays: ArrayFile) -> CapturedMedium:
    names = [name for name in medium.arrays if medium.tensor_name(name) in arrays]
    return CapturedMedium(
        medium.modality,
        medium.item,
        medium.fields,
        {name: arrays.read(medium.tensor_name(name)) for name in names},
        dtype=medium.dtype,
    )


def check_given(
    condition: Condition, values: ReferenceValues, inputs: Inputs, outputs: Outputs, dtype: Dtype
) -> None:
    """Check that an engine has run on the values that it was given.

    Args:
        condition: what was given.
        values: of the reference.
        inputs: the engine's, as it ran on them.
        outputs: of the run.
        dtype: in which the engine computes.

    Raises:
        UnsupportedError: it has run on others, so nothing follows from what it has computed.
    """
    check_given_inputs(condition, values, inputs)
    if condition is Condition.FEATURES:
        _check_positions(values, outputs)
        _check_features(values, outputs, dtype)


def check_given_inputs(condition: Condition, values: ReferenceValues, inputs: Inputs) -> None:
    """Check that the inputs of an engine are those that it was given.

    Args:
        condition: as for ``check_given``.
        values: likewise.
        inputs: likewise.

    Raises:
        UnsupportedError: as for ``check_given``.
    """
    if inputs.input_ids != values.input_ids or inputs.spans != values.spans:
        raise UnsupportedError("the engine ran on other ids or spans than it was given")
    if condition is Condition.MEDIA:
        _check_media(values, inputs)


def _check_media(values: ReferenceValues, inputs: Inputs) -> None:
    given = {(medium.modality, medium.item): medium for medium in values.media}
    found = {(medium.modality, medium.item): medium for medium in inputs.media or ()}
    is_equal = given.keys() == found.keys() and all(
        given[key].fields == found[key].fields
        and given[key].arrays.keys() == found[key].arrays.keys()
        and all(np.array_equal(array, found[key].arrays[name]) for name, array in given[key].arrays.items())
        for key in given
    )
    if not is_equal:
        raise UnsupportedError("the engine ran on other tower inputs than it was given")


def _check_positions(values: ReferenceValues, outputs: Outputs) -> None:
    if outputs.positions is None:
        raise UnsupportedError("the engine does not show whether it ran at the positions that it was given")
    run = values.positions[:, outputs.cached_tokens :]
    if len(run) == 1:  # the same on every axis
        run = np.repeat(run, len(outputs.positions), axis=0)
    if not np.array_equal(run, outputs.positions):
        raise UnsupportedError("the engine ran at other positions than it was given")
    given, decoded = values.decode_positions, outputs.decode_positions
    if given is not None and decoded is not None and not np.array_equal(given, decoded):
        raise UnsupportedError("the engine decoded at other positions than it was given")


def _check_features(values: ReferenceValues, outputs: Outputs, dtype: Dtype) -> None:
    if values.features is None:
        return
    if outputs.embeddings is None:
        raise UnsupportedError("the engine does not show whether it ran on the features that it was given")
    embedded = [position for span in values.spans for position in span.positions]
    rows = [index for index, position in enumerate(embedded) if position >= outputs.cached_tokens]
    given = _round(values.features[rows], dtype)
    found = outputs.embeddings[[embedded[index] - outputs.cached_tokens for index in rows]]
    if not np.array_equal(given, found):
        raise UnsupportedError("the engine ran on other features than it was given")


def _round(features: np.ndarray, dtype: Dtype) -> np.ndarray:
    """Round features to a dtype: float32 of the same shape."""
    if dtype == "float32":
        return features
    import torch

    rounded: np.ndarray = torch.from_numpy(features).to(getattr(torch, dtype)).float().numpy()
    return rounded
