"""Modes that several engines have: names, companion requests of a batch, evidence that a mode took effect."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL.Image import Image
from PIL.ImageOps import invert

from vlm_parity.backends.base import Inputs, Request
from vlm_parity.media.load import DecodedAudio, DecodedVideo, Media, load_media
from vlm_parity.schema.case import Case
from vlm_parity.schema.engine_setup import BATCHED
from vlm_parity.schema.trace import Span
from vlm_parity.util.errors import EngineError, ModeNotApplicableError

CHUNK = 9
"""Chunk size in positions: splits a medium of every embedded case; no block size is a multiple of it."""


@dataclass(frozen=True)
class EngineStep:
    """The rows of the recorded request in one step of an engine."""

    first: int
    """Position of the first row."""
    count: int
    """Number of rows."""
    requests: int
    """Number of requests in the step."""


def build_batch_requests() -> list[Request]:
    """Return the companions of a request in mode ``batched``: one with an image, and one of text only."""
    image = {"image": {"pattern": "checkerboard", "size": [84, 140]}}
    question = "Which colours does this board have, and how many?"  # prose: ok # codespell:ignore
    return [
        _build_request("companion_with_image", [image, {"text": question}]),
        _build_request("companion_of_text", [{"text": "Count to three."}]),
    ]


def _build_request(name: str, content: list[dict[str, Any]]) -> Request:
    message = {"role": "user", "content": content}
    case = Case.model_validate({"name": name, "summary": "in the same batch", "messages": [message]})
    return Request(case, load_media(case))


def build_decoy(request: Request) -> Request | None:
    """Return the same conversation with other media of the same sizes; None if all of them would be the same.

    Images that are not plain RGB, and media that the engine decodes from files, stay as they are.
    """
    media = tuple(_alter(medium) for medium in request.media)
    if all(altered is medium for altered, medium in zip(media, request.media, strict=True)):
        return None
    return replace(request, media=media)


def _alter(medium: Media) -> Media:
    if isinstance(medium, DecodedVideo):
        return replace(medium, frames=np.ascontiguousarray(~medium.frames))
    if isinstance(medium, DecodedAudio):
        return replace(medium, samples=np.ascontiguousarray(medium.samples[::-1]))
    if isinstance(medium, Image) and medium.mode == "RGB" and not medium.info and not medium.getexif():
        return invert(medium)
    return medium


def check_batched(requests: Sequence[int]) -> str:
    """Check that every step was a batch, and describe it.

    Args:
        requests: number of requests in each step.

    Raises:
        EngineError: a step held one request only.
    """
    if min(requests) == 1:
        raise EngineError(f"mode {BATCHED}, but the steps held {list(requests)} requests")
    least, most = min(requests), max(requests)
    count = f"{least}" if least == most else f"{least} to {most}"
    return f"{count} requests in each of {len(requests)} steps"


def describe_chunks(inputs: Inputs, steps: Iterable[EngineStep], *, splits_media: bool = True) -> str:
    """Describe the positions at which the prompt was split.

    Args:
        inputs: the prompt and its spans.
        steps: the recorded steps, in order.
        splits_media: whether the engine splits media.

    Raises:
        ModeNotApplicableError: the prompt was not split, or it has media and none of them was, although the
            engine splits media.
    """
    cuts = [step.first for step in steps if 0 < step.first < len(inputs.input_ids)]
    if not cuts:
        raise ModeNotApplicableError(f"the prompt of {len(inputs.input_ids)} ids was not split")
    description = f"prompt split at {_format_positions(cuts)}"
    if not inputs.spans:
        return description
    split = [f"{span.modality} {span.item}" for span in _find_split_spans(inputs.spans, cuts)]
    if splits_media and not split:
        raise ModeNotApplicableError(f"{description}, which splits no medium")
    return f"{description}; split media: {', '.join(split) or 'none'}"


def describe_cache_use(inputs: Inputs, cached: int, block: int, *, splits_media: bool = True) -> str:
    """Describe the part of a prompt that came from the prefix cache.

    Args:
        inputs: the prompt and its spans.
        cached: number of cached positions.
        block: block size of the cache, in positions.
        splits_media: whether the engine can read part of a medium from the cache.

    Raises:
        ModeNotApplicableError: nothing was cached, because the prompt is too short or every block ends inside
            a medium that the engine does not split.
        EngineError: nothing was cached, although it could have been.
    """
    length = len(inputs.input_ids)
    if cached:
        others = (
            ", which also held the same conversation with other media" if inputs.decoy is not None else ""
        )
        return f"{cached} of {length} prompt positions from the prefix cache{others}"
    if length <= block:  # the last position is always run, for its logits
        raise ModeNotApplicableError(
            f"no cache hit: the ids before the last of {length} fill no block of {block}"
        )
    if not splits_media and all(
        _is_inside_span(inputs.spans or (), end) for end in range(block, length, block)
    ):
        raise ModeNotApplicableError(
            f"no cache hit: every block of {block} ends inside a medium, which is not split"
        )
    raise EngineError(f"the prompt of {length} ids was sent twice, but nothing came from the prefix cache")


def _find_split_spans(spans: Iterable[Span], cuts: list[int]) -> list[Span]:
    """Return the spans with embedded positions on both sides of a cut."""
    return [span for span in spans if any(span.offset < cut < span.offset + span.length for cut in cuts)]


def _is_inside_span(spans: Iterable[Span], border: int) -> bool:
    return any(start < border < stop for span in spans for start, stop in span.runs)


def _format_positions(cuts: list[int]) -> str:
    shown = 8
    more = f" and {len(cuts) - shown} more positions" if len(cuts) > shown else ""
    return ", ".join(map(str, cuts[:shown])) + more
