"""A rule on the times that some processors write into the prompt, in front of the frames of a video."""

from __future__ import annotations

import re
from itertools import chain

from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.diagnosis.text_diff import TextHunk, quote_text, text_hunks
from vlm_parity.schema.trace import Stage

_TIME_CHARACTERS = re.compile(r"[\d.:]+")
_AROUND = 4  # pieces on either side that are quoted: "<0.3 seconds>" has seven


@register_rule("frame timestamps differ", Stage.INPUT_IDS)
def explain_timestamps(finding: RuleInput) -> Explanation | None:
    """Nothing but numbers differs, in a prompt with a video whose frames have their own places."""
    spans = chain(finding.pair.reference.spans or (), finding.pair.tested.spans or ())
    places = text_hunks(finding)
    if not places or not any(span.modality == "video" and len(span.runs) > 1 for span in spans):
        return None
    if not all(_is_timestamp(place) for place in places):
        return None
    first = places[0]
    words = (
        f"The reference writes {quote_text(_text_around(first, first.reference))} where "
        f"{finding.pair.tested.backend} writes {quote_text(_text_around(first, first.tested))} in front of a frame; "
        f"nothing but such numbers differs, at {len(places)} place{'s' if len(places) > 1 else ''}."
    )
    return 0.95, words


def _is_timestamp(place: TextHunk) -> bool:
    pieces = (*place.reference, *place.tested)
    return bool(pieces) and all(_TIME_CHARACTERS.fullmatch(piece) for piece in pieces)


def _text_around(place: TextHunk, own: tuple[str, ...]) -> str:
    return "".join((*place.before[-_AROUND:], *own, *place.after[:_AROUND]))
