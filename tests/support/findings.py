"""Traces of conversations given as text, and their explanations by the rules."""

from __future__ import annotations

from typing import Any

from tests.support.traces import make_pair, make_trace
from vlm_parity.diagnosis.registry import RuleInput, explain_diff
from vlm_parity.diagnosis.text_diff import split_pieces
from vlm_parity.diff.compare import compare_stages
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span, Trace
from vlm_parity.schema.verdict import Diagnosis, DiffStatus

IMAGE_PAD, VIDEO_PAD, PAD = "<|image_pad|>", "<|video_pad|>", "<|endoftext|>"
_MEDIA: dict[str, Modality] = {IMAGE_PAD: "image", VIDEO_PAD: "video"}
SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
IMAGE = f"<|vision_start|>{IMAGE_PAD}<|vision_end|>"
VIDEO = f"<|vision_start|>{VIDEO_PAD}<|vision_end|>"
ANSWER = "<|im_start|>assistant\n"
_IDS: dict[str, int] = {}


def format_turn(content: str) -> str:
    """Format a conversation of one user turn."""
    return f"{SYSTEM}<|im_start|>user\n{content}<|im_end|>\n{ANSWER}"


def get_token_text(text: str) -> int:
    """Return the id of a piece of text."""
    return _IDS.setdefault(text, 1000 + len(_IDS))


def render_text(text: str, *sizes: int, prompt: str | None = None, **changes: Any) -> Trace:
    """Build a trace whose ids are the pieces of ``text``, with media of the given sizes in order.

    The prompt is captured only if it is given, and the media are not: the rules have to use the ids.
    """
    ids: list[int] = []
    spans, counts, left = [], dict.fromkeys(_MEDIA.values(), 0), iter(sizes)
    for piece in split_pieces(text):
        modality = _MEDIA.get(piece)
        size = next(left) if modality else 1
        if modality:
            spans.append(Span.of(modality, counts[modality], range(len(ids), len(ids) + size)))
            counts[modality] += 1
        ids += [get_token_text(piece)] * size
    values: dict[str, Any] = {"prompt": prompt, "input_ids": ids, "spans": spans, "media": None}
    values["encoder_budget"] = None
    return make_trace(**(values | {"vocabulary": {number: text for text, number in _IDS.items()}} | changes))


def explain_traces(reference: Trace, tested: Trace) -> tuple[Diagnosis, ...]:
    """Explain the first divergence; return nothing if there is none."""
    both = make_pair(reference, tested)
    stages = tuple(compare_stages(both))
    first = next((diff for diff in stages if diff.status is DiffStatus.MISMATCH), None)
    return explain_diff(RuleInput(both, first, stages)) if first else ()


def list_found_causes(reference: Trace, tested: Trace) -> list[str]:
    """List the causes, the most confident first."""
    return [diagnosis.cause for diagnosis in explain_traces(reference, tested)]
