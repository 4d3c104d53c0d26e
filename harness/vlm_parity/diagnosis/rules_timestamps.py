"""A rule on the timestamps that some processors write into the prompt before the frames of a video."""

from __future__ import annotations

import re
from itertools import chain

from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.diagnosis.text_diff import TextHunk, align_rendered_texts, quote_text
from vlm_parity.schema.trace import Stage

_TIME_CHARACTERS = re.compile(r"[\d.:]+")
_AROUND = 4  # pieces on either side that are quoted: "<0.3 seconds>" has seven


@register_rule("frame timestamps differ", Stage.INPUT_IDS)
def explain_timestamps(rule_input: RuleInput) -> Explanation | None:
    """Detect differences in numbers only, in a prompt that contains the frames of a video one by one."""
    spans = chain(rule_input.pair.reference.spans or (), rule_input.pair.tested.spans or ())
    places = align_rendered_texts(rule_input)
    if not places or not any(span.modality == "video" and len(span.runs) > 1 for span in spans):
        return None
    if not all(_is_timestamp(place) for place in places):
        return None
    first = places[0]
    sentence = (
        f"The timestamp before a frame is {quote_text(_text_around(first, first.reference))} in the "
        f"reference and {quote_text(_text_around(first, first.tested))} in {rule_input.pair.tested.backend}; "
        f"only such numbers differ, at {len(places)} place{'s' if len(places) > 1 else ''}."
    )
    return 0.95, sentence


def _is_timestamp(place: TextHunk) -> bool:
    pieces = (*place.reference, *place.tested)
    return bool(pieces) and all(_TIME_CHARACTERS.fullmatch(piece) for piece in pieces)


def _text_around(place: TextHunk, own: tuple[str, ...]) -> str:
    return "".join((*place.before[-_AROUND:], *own, *place.after[:_AROUND]))
