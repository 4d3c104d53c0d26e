"""Builds the trace of one case from the results of a backend: a record and its arrays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vlm_parity.backends.base import Backend, Inputs, Outputs
from vlm_parity.capture.environment import describe_environment
from vlm_parity.capture.protocol import LoadRequest
from vlm_parity.schema.case import Case
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.trace import DECODE_POSITIONS, Environment, MediaInput, Outcome, Stage, Trace

_TOP_TOKEN_COUNT = 5
"""The number of most likely tokens of a row that a report names."""


def get_capture_depth(load_request: LoadRequest, case: Case) -> Depth:
    """Return the depth at which a case is captured: the lesser of the engine's and the case's own."""
    return Depth.TOKENS if case.depth == "tokens" else load_request.depth


def drop_large_arrays(inputs: Inputs, limit: int) -> Inputs:
    """Drop the arrays of the media if they take more than ``limit`` bytes."""
    arrays = [array for medium in inputs.media or () for array in medium.arrays.values()]
    size = sum(array.nbytes for array in arrays)
    if size <= limit:
        return inputs
    reason = f"{size / 2**20:.0f} MiB of a largest medium are not kept; {limit / 2**20:.0f} would be"
    media = tuple(replace(medium, arrays={}) for medium in inputs.media or ())
    return replace(inputs, media=media, not_captured=inputs.not_captured | {Stage.MEDIA: reason})


def build_trace(
    backend: Backend, load_request: LoadRequest, case: Case, inputs: Inputs | None, outputs: Outputs | None
) -> Trace:
    """Build the record of a trace; fields of missing inputs or outputs stay empty."""
    ids = [
        *(inputs.input_ids if inputs else ()),
        *(outputs.continuation + outputs.greedy if outputs else ()),
        *_top_tokens(outputs),
    ]
    return Trace(
        case=case.name,
        case_digest=case.digest(),
        model=load_request.name,
        backend=load_request.backend,
        mode_note=outputs.mode_note if outputs else "",
        cached_tokens=outputs.cached_tokens if outputs else 0,
        deep_levels=outputs.deep_levels if outputs else 0,
        depth=get_capture_depth(load_request, case),
        environment=_describe_environment(backend),
        outcome=Outcome.CAPTURED,
        prompt=inputs.prompt if inputs else None,
        changed_prompts=dict(inputs.changed_prompts) if inputs else {},
        input_ids=inputs.input_ids if inputs and inputs.prompt_tokens is None else None,
        prompt_tokens=inputs.prompt_tokens if inputs else None,
        spans=inputs.spans if inputs else None,
        media=_record_media(inputs),
        continuation=outputs.continuation if outputs else None,
        greedy=outputs.greedy if outputs else None,
        vocabulary=backend.decode_token_texts(ids),
        not_captured=(inputs.not_captured if inputs else {}) | (outputs.not_captured if outputs else {}),
    )


def _record_media(inputs: Inputs | None) -> tuple[MediaInput, ...] | None:
    if inputs is None or inputs.media is None:
        return None
    return tuple(medium.build_record() for medium in inputs.media)


def _top_tokens(outputs: Outputs | None) -> list[int]:
    """Return the most likely ids of all positions: a report names those of the worst position."""
    if outputs is None:
        return []
    logits = [rows for rows in (outputs.prefill, outputs.decode) if rows is not None]
    top = [np.argpartition(row, -_TOP_TOKEN_COUNT)[-_TOP_TOKEN_COUNT:] for rows in logits for row in rows]
    top += [
        row[row >= 0][:_TOP_TOKEN_COUNT] for listed in outputs.top_logprobs.values() for row in listed.ids
    ]
    return [int(token) for token in np.unique(np.concatenate(top))] if top else []


def collect_arrays(inputs: Inputs | None, outputs: Outputs | None) -> dict[str, np.ndarray]:
    """Collect the arrays of a trace by their names in ``vlm_parity.schema.trace``."""
    arrays = {}
    for side in (inputs, outputs):
        if side is not None and side.positions is not None:
            arrays["positions"] = side.positions
    if outputs is not None and outputs.decode_positions is not None:
        arrays[DECODE_POSITIONS] = outputs.decode_positions
    for medium in (inputs.media if inputs else None) or ():
        arrays |= {medium.build_record().tensor_name(name): array for name, array in medium.arrays.items()}
    for stage in (Stage.PREFILL, Stage.DECODE) if outputs is not None else ():
        logits = getattr(outputs, stage)
        if logits is not None:
            arrays[stage.value] = logits
    for stage, listed in (outputs.top_logprobs if outputs else {}).items():
        arrays |= {f"{stage}.{name}": array for name, array in vars(listed).items()}
    if outputs is not None and outputs.embeddings is not None and inputs is not None:
        embedded = [position for span in inputs.spans or () for position in span.positions]
        arrays["vision"] = outputs.embeddings[
            [p - outputs.cached_tokens for p in embedded if p >= outputs.cached_tokens]
        ]
    return arrays


def _describe_environment(backend: Backend) -> Environment:
    return describe_environment(type(backend), backend.settings).model_copy(
        update={"settings": dict(backend.applied_engine_args), "workarounds": tuple(backend.workarounds)}
    )
