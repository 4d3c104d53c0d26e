"""A rule on the times that some processors write into the prompt, in front of the frames of a video."""

from __future__ import annotations

import re
from itertools import chain

from vlm_parity.diagnosis.registry import Explanation, Finding, rule
from vlm_parity.diagnosis.text_diff import Parting, partings, quoted
from vlm_parity.schema.trace import Stage

_OF_A_TIME = re.compile(r"[\d.:]+")
_AROUND = 4  # pieces on either side that are quoted: "<0.3 seconds>" has seven


@rule("frame timestamps differ", Stage.INPUT_IDS)
def other_timestamps(finding: Finding) -> Explanation | None:
    """Nothing but numbers differs, in a prompt with a video whose frames have their own places."""
    spans = chain(finding.pair.reference.spans or (), finding.pair.tested.spans or ())
    places = partings(finding)
    if not places or not any(span.modality == "video" and len(span.runs) > 1 for span in spans):
        return None
    if not all(_is_a_time(place) for place in places):
        return None
    first = places[0]
    words = (
        f"The reference writes {quoted(_around(first, first.reference))} where "
        f"{finding.pair.tested.backend} writes {quoted(_around(first, first.tested))} in front of a frame; "
        f"nothing but such numbers differs, at {len(places)} place{'s' if len(places) > 1 else ''}."
    )
    return 0.95, words


def _is_a_time(place: Parting) -> bool:
    pieces = (*place.reference, *place.tested)
    return bool(pieces) and all(_OF_A_TIME.fullmatch(piece) for piece in pieces)


def _around(place: Parting, own: tuple[str, ...]) -> str:
    return "".join((*place.before[-_AROUND:], *own, *place.after[:_AROUND]))
