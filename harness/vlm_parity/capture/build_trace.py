"""What a backend gave for one case, as a trace: its record and its arrays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vlm_parity.backends.base import Backend, Inputs, Outputs
from vlm_parity.capture.environment import describe_environment
from vlm_parity.capture.protocol import LoadRequest
from vlm_parity.schema.case import Case
from vlm_parity.schema.trace import Depth, Environment, MediaInput, Outcome, Stage, Trace

_TOP_TOKEN_COUNT = 5
"""As many of a row's likeliest tokens are named in a report."""


def effective_depth(opened: LoadRequest, case: Case) -> Depth:
    """How deep a case is captured: as deep as the engine was opened for, and no deeper than it is about."""
    return Depth.TOKENS if case.depth == "tokens" else opened.depth


def drop_large_arrays(inputs: Inputs, limit: int) -> Inputs:
    """The inputs without the values of their media, where these take more than ``limit`` bytes."""
    arrays = [array for medium in inputs.media or () for array in medium.arrays.values()]
    size = sum(array.nbytes for array in arrays)
    if size <= limit:
        return inputs
    reason = f"{size / 2**20:.0f} MiB of a largest medium are not kept; {limit / 2**20:.0f} would be"
    media = tuple(replace(medium, arrays={}) for medium in inputs.media or ())
    return replace(inputs, media=media, not_captured=inputs.not_captured | {Stage.MEDIA: reason})


def build_trace(
    backend: Backend, opened: LoadRequest, case: Case, inputs: Inputs | None, outputs: Outputs | None
) -> Trace:
    """The record of what was captured; without either side, of where that was to be."""
    ids = [
        *(inputs.input_ids if inputs else ()),
        *(outputs.continuation + outputs.greedy if outputs else ()),
        *_top_tokens(outputs),
    ]
    return Trace(
        case=case.name,
        case_digest=case.digest(),
        model=opened.name,
        backend=opened.backend,
        mode_note=outputs.mode_note if outputs else "",
        cached_tokens=outputs.cached_tokens if outputs else 0,
        depth=effective_depth(opened, case),
        environment=_describe_environment(backend),
        outcome=Outcome.CAPTURED,
        prompt=inputs.prompt if inputs else None,
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
    return tuple(medium.record() for medium in inputs.media)


def _top_tokens(outputs: Outputs | None) -> list[int]:
    """The five most likely ids at every position: a report names those of the worst one."""
    if outputs is None:
        return []
    sides = [rows for rows in (outputs.prefill, outputs.decode) if rows is not None]
    best = [np.argpartition(row, -_TOP_TOKEN_COUNT)[-_TOP_TOKEN_COUNT:] for rows in sides for row in rows]
    best += [row[row >= 0][:_TOP_TOKEN_COUNT] for one in outputs.top_logprobs.values() for row in one.ids]
    return [int(token) for token in np.unique(np.concatenate(best))] if best else []


def collect_arrays(inputs: Inputs | None, outputs: Outputs | None) -> dict[str, np.ndarray]:
    """The arrays of a trace, by the names that ``vlm_parity.schema.trace`` gives them."""
    tensors = {}
    for side in (inputs, outputs):
        if side is not None and side.positions is not None:
            tensors["positions"] = side.positions
    for medium in (inputs.media if inputs else None) or ():
        tensors |= {medium.record().tensor_name(name): array for name, array in medium.arrays.items()}
    for stage in (Stage.PREFILL, Stage.DECODE) if outputs is not None else ():
        logits = getattr(outputs, stage)
        if logits is not None:
            tensors[stage.value] = logits
    for stage, listed in (outputs.top_logprobs if outputs else {}).items():
        tensors |= {f"{stage}.{name}": array for name, array in vars(listed).items()}
    if outputs is not None and outputs.embeddings is not None and inputs is not None:
        embedded = [position for span in inputs.spans or () for position in span.positions]
        tensors["vision"] = outputs.embeddings[
            [p - outputs.cached_tokens for p in embedded if p >= outputs.cached_tokens]
        ]
    return tensors


def _describe_environment(backend: Backend) -> Environment:
    return describe_environment(type(backend), backend.settings).model_copy(
        update={"settings": dict(backend.applied_engine_args), "workarounds": tuple(backend.workarounds)}
    )
