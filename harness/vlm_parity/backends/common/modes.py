"""What the engines' modes share: their names, who else is in a batch, and how to see that it was so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vlm_parity.backends.base import Inputs, Request
from vlm_parity.media.load import load_media
from vlm_parity.schema.case import Case
from vlm_parity.schema.trace import Span
from vlm_parity.util.errors import ModeNotApplicableError

BATCHED, CHUNKED_PREFILL, PREFIX_CACHED = "batched", "chunked_prefill", "prefix_cached"
CHUNK = 9
"""Positions; it cuts a medium of every embedded case, and no block is a multiple of it."""


@dataclass(frozen=True)
class EngineStep:
    """One step of an engine, as far as it ran the request that is recorded."""

    first: int
    """The position of the first row."""
    count: int
    requests: int
    """How many requests were in the step."""


def build_batch_requests() -> list[Request]:
    """Who is in the batch beside the request under test: one with a picture, and one of text only."""
    picture = {"image": {"pattern": "checkerboard", "size": [84, 140]}}
    return [
        _build_text_request(
            "beside_picture", [picture, {"text": "Which colours does this board have, and how many?"}]
        ),
        _build_text_request("beside_text", [{"text": "Count to three."}]),
    ]


def _build_text_request(name: str, content: list[dict[str, Any]]) -> Request:
    message = {"role": "user", "content": content}
    case = Case.model_validate({"name": name, "summary": "in the same batch", "messages": [message]})
    return Request(case, load_media(case))


def check_batched(requests: Sequence[int]) -> str:
    """Says how many requests each step held.

    Raises:
        RuntimeError: a step held one only.
    """
    if min(requests) == 1:
        raise RuntimeError(f"to be run in a batch, but the steps held {list(requests)} requests")
    least, most = min(requests), max(requests)
    held = f"{least}" if least == most else f"{least} to {most}"
    return f"{held} requests in each of {len(requests)} steps"


def describe_chunks(inputs: Inputs, steps: Iterable[EngineStep], *, splits_media: bool = True) -> str:
    """Says where the prompt was cut.

    Raises:
        ModeNotApplicableError: it was not, or no medium is split by an engine that splits media.
    """
    cuts = [step.first for step in steps if 0 < step.first < len(inputs.input_ids)]
    if not cuts:
        raise ModeNotApplicableError(f"the prompt of {len(inputs.input_ids)} ids went in one piece")
    where = f"the prompt cut at {_format_positions(cuts)}"
    if not inputs.spans:
        return where
    split = [f"{span.modality} {span.item}" for span in _split_spans(inputs.spans, cuts)]
    if splits_media and not split:
        raise ModeNotApplicableError(f"{where}, which splits no medium")
    return f"{where}; split: {', '.join(split) or 'no medium'}"


def describe_cache_use(inputs: Inputs, cached: int, block: int, *, splits_media: bool = True) -> str:
    """Says how much of a prompt came from the prefix cache.

    Raises:
        ModeNotApplicableError: nothing, for it is too short, or all blocks end in a medium that the engine does not
            read in part.
        RuntimeError: nothing, although it could.
    """
    length = len(inputs.input_ids)
    if cached:
        return f"{cached} of {length} prompt positions from the prefix cache"
    if length <= block:  # the last position is always run, for its logits
        raise ModeNotApplicableError(
            f"no cache hit: all that comes before the last of {length} ids fills no block of {block}"
        )
    if not splits_media and all(
        _is_inside_span(inputs.spans or (), end) for end in range(block, length, block)
    ):
        raise ModeNotApplicableError(
            f"no cache hit: every block of {block} ends inside a medium, which is read as a whole"
        )
    raise RuntimeError(f"the prompt of {length} ids was asked twice, but nothing came from the prefix cache")


def _split_spans(spans: Iterable[Span], cuts: list[int]) -> list[Span]:
    """The spans that have an embedded position on either side of a cut."""
    return [span for span in spans if any(span.offset < cut < span.offset + span.length for cut in cuts)]


def _is_inside_span(spans: Iterable[Span], border: int) -> bool:
    return any(start < border < stop for span in spans for start, stop in span.runs)


def _format_positions(cuts: list[int]) -> str:
    few = 8
    more = f" and {len(cuts) - few} more places" if len(cuts) > few else ""
    return ", ".join(map(str, cuts[:few])) + more
