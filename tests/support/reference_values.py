"""Values of the reference, computed in this process, to give to an engine."""

from __future__ import annotations

from tests.support.requests import CONTINUATION
from vlm_parity.backends.base import Outputs, ReferenceValues, Request
from vlm_parity.backends.transformers.backend import TransformersBackend

NEW_TOKENS = 6


def compute_reference_values(
    reference: TransformersBackend, request: Request
) -> tuple[ReferenceValues, Outputs]:
    """Run the reference along ``CONTINUATION``; return what it can give, and its outputs."""
    inputs = reference.inputs(request)
    outputs = reference.outputs(inputs, CONTINUATION, NEW_TOKENS)
    assert inputs.spans is not None
    assert inputs.positions is not None
    assert outputs.embeddings is not None
    embedded = [position for span in inputs.spans for position in span.positions]
    values = ReferenceValues(
        input_ids=inputs.input_ids,
        spans=inputs.spans,
        positions=inputs.positions,
        decode_positions=outputs.decode_positions,
        features=outputs.embeddings[embedded] if embedded else None,
        deep_levels=outputs.deep_levels,
        media=inputs.media or (),
    )
    return values, outputs
