"""Rules on what is written: in the rendered prompts, and where those agree or are not known, in what the
ids say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.diagnosis.text_diff import (
    TEXT_STAGES,
    TextHunk,
    has_moved_past_media,
    is_visible_difference,
    quote_text,
    rendered_texts,
    split_pieces,
    text_hunks,
)
from vlm_parity.diff.special_tokens import is_media_placeholder, is_special_token
from vlm_parity.schema.trace import Stage

_SYSTEM_TURN = re.compile(
    r"(?:<\|(?:im_start|start_header_id)\|>\s*system\b|<\|system\|>|<<SYS>>)([^<]*)|\[SYSTEM_PROMPT\]([^\[]*)"
)
"""With what stands in it."""
_ANSWER_TURN = re.compile(r"assistant|model|\[/INST\]", re.IGNORECASE)


@register_rule("chat template whitespace differs", *TEXT_STAGES)
def explain_template_whitespace(finding: RuleInput) -> Explanation | None:
    """Only white space differs, and next to what the chat template writes."""
    places = text_hunks(finding)
    at_template = [place for place in places if place.at_template]
    if not at_template or not all(place.white for place in places):
        return None
    first = at_template[0]
    words = (
        f"The chat template writes {quote_text(''.join(first.reference))} {_between(first)} in the reference "
        f"and {quote_text(''.join(first.tested))} in {finding.pair.tested.backend}; nothing but white space "
        f"differs, at {_places(places)}."
    )
    return (0.95 if len(at_template) == len(places) else 0.5), words


@register_rule("text part separator differs", *TEXT_STAGES)
def explain_text_joining(finding: RuleInput) -> Explanation | None:
    """The same few characters come in, or are gone, wherever two parts of a message meet."""
    places = text_hunks(finding)
    changes = [place.change for place in places]
    # Where a separator starts and ends in spaces, a diff may give them to the words beside it.
    alike = {tuple(side.strip() or side for side in change) for change in changes}
    if len(alike) != 1 or any(place.at_template and not place.within for place in places):
        return None
    lost, gained = changes[0]
    if bool(lost) == bool(gained) or any(c.isalnum() for c in lost + gained) or _specials(places):
        return None
    verb = "writes" if gained else "leaves out"
    words = (
        f"{finding.pair.tested.backend} {verb} {quote_text(lost + gained)} {_between(places[0])}, at "
        f"{_places(places)}, and all else is the same: it joins the text parts of a message itself and does "
        "not leave that to the chat template."
    )
    return 0.9, words


@register_rule("text part dropped", *TEXT_STAGES)
def explain_dropped_text(finding: RuleInput) -> Explanation | None:
    """Words of the reference are missing, and nothing else but white space has changed.

    A message that lost its special tokens too is not a part of one.
    """
    places = text_hunks(finding)
    if any(is_visible_difference(place.tested) for place in places) or _specials(places):
        return None
    if _media_differ(finding, in_order=True):
        return None
    lost = [
        place for place in places if any(c.isalnum() for c in "".join(is_visible_difference(place.reference)))
    ]
    if not lost:
        return None
    first = lost[0]
    missing = "".join(piece for piece in first.reference if not is_media_placeholder(piece))
    others = f" (and more, at {_places(lost)})" if len(lost) > 1 else ""
    passed = has_moved_past_media(finding)
    # Where the words behind a medium begin like those in front of it, one of the two was left out, no more.
    moved = (
        f", and a medium stands in front of {quote_text(' '.join(passed))}, not behind it"
        if passed and passed != is_visible_difference(first.reference)
        else ""
    )
    words = (
        f"{finding.pair.tested.backend} leaves out {quote_text(missing.strip())} {_between(first)}{others}; "
        f"all else that was written is there{moved}."
    )
    return (0.95 if any(map(_is_at_media_marker, lost)) else 0.6), words


@register_rule("system prompt missing or added", *TEXT_STAGES)
def explain_system_prompt(finding: RuleInput) -> Explanation | None:
    """One side has a system turn more, and its words are nowhere in the other."""
    ours, theirs = (_system_turns(text) for text in rendered_texts(finding))
    more, other = (
        (ours, rendered_texts(finding)[1])
        if len(ours) > len(theirs)
        else (theirs, rendered_texts(finding)[0])
    )
    if len(ours) == len(theirs) or (more[0] and more[0] in other):
        return None
    verb = "has no" if more is ours else "adds a"
    backend = finding.pair.tested.backend
    words = f"{backend} {verb} system turn {quote_text(more[0])}: the reference has {len(ours)}, it {len(theirs)}."
    return 0.95, words


@register_rule("system prompt differs", *TEXT_STAGES)
def explain_other_system_prompt(finding: RuleInput) -> Explanation | None:
    """Both have a system turn, and another text stands in it."""
    ours, theirs = (_system_turns(text) for text in rendered_texts(finding))
    other = [(a, b) for a, b in zip(ours, theirs, strict=False) if a.split() != b.split()]
    if len(ours) != len(theirs) or not other:
        return None
    here, there = (quote_text(text) for text in other[0])
    return 0.97, f"The system turn is {here} in the reference and {there} in {finding.pair.tested.backend}."


@register_rule("generation prompt missing or added", *TEXT_STAGES)
def explain_generation_prompt(finding: RuleInput) -> Explanation | None:
    """One side goes on, by the header of the answer."""
    ours, theirs = rendered_texts(finding)
    longer, shorter = (ours, theirs) if len(ours) > len(theirs) else (theirs, ours)
    rest = longer[len(shorter) :]
    if not longer.startswith(shorter):
        return _is_answer_difference(finding)
    if not _is_answer_header(rest):
        return None
    verb = "does not end" if longer == ours else "alone ends"
    return 0.95, f"{finding.pair.tested.backend} {verb} with {quote_text(rest)}, the header of the answer."


def _is_answer_difference(finding: RuleInput) -> Explanation | None:
    """The header of the answer, where white space in front of it or other places differ, too."""
    *others, last = text_hunks(finding)
    ours, theirs = "".join(last.reference), "".join(last.tested)
    rest = ours if not theirs.strip() else theirs if not ours.strip() else ""
    if is_visible_difference(last.after) or not _is_answer_header(rest):
        return None
    verb = "does not end" if rest == ours else "alone ends"
    backend = finding.pair.tested.backend
    more = f"the texts differ at {_places(others)} more" if others else "white space in front of it differs"
    return 0.6, f"{backend} {verb} with {quote_text(rest)}, the header of the answer, and {more}."


def _is_answer_header(text: str) -> bool:
    header = is_visible_difference(split_pieces(text))
    named = [piece for piece in header if not is_special_token(piece)]
    return bool(_ANSWER_TURN.search(text)) and len(named) <= 1 and any(map(is_special_token, header))


@register_rule("media placed elsewhere in the prompt", *TEXT_STAGES)
def explain_media_position(finding: RuleInput) -> Explanation | None:
    """The same words and the same media, but the media stand between other words."""
    ours, theirs = (_layout(text) for text in rendered_texts(finding))
    if not _same_words(finding) or ours == theirs or [m for m, _ in ours] != [m for m, _ in theirs]:
        return None
    moved = next(place for place, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
    here, there = (_word_in_front(text, moved) for text in rendered_texts(finding))
    words = (
        f"The first medium that moved, {quote_text(ours[moved][0])}, stands behind {here} in the reference and "
        f"behind {there} in {finding.pair.tested.backend}; the words are the same."
    )
    return 0.95, words


@register_rule("media modality differs", Stage.PROMPT)
def explain_other_modality(finding: RuleInput) -> Explanation | None:
    """A picture stands where the reference has a video, say."""
    ours, theirs = ([medium for medium, _ in _layout(text)] for text in rendered_texts(finding))
    here = [medium for medium in ours if medium not in theirs]
    there = [medium for medium in theirs if medium not in ours]
    if not here or not there:
        return None
    backend = finding.pair.tested.backend
    return 0.8, f"{backend} has {quote_text(there[0])} where the reference has {quote_text(here[-1])}."


@register_rule("media reordered", *TEXT_STAGES)
def explain_media_order(finding: RuleInput) -> Explanation | None:
    """The same words, and media of several kinds in another order."""
    ours, theirs = ([marker for marker, _ in _layout(text)] for text in rendered_texts(finding))
    if not _same_words(finding) or ours == theirs or _media_differ(finding, in_order=False):
        return None
    order, other = " ".join(ours), " ".join(theirs)
    backend = finding.pair.tested.backend
    return (
        0.9,
        f"The media stand as {quote_text(order)} in the reference and as {quote_text(other)} in {backend}.",
    )


@register_rule("special tokens around media differ", *TEXT_STAGES)
def explain_media_markers(finding: RuleInput) -> Explanation | None:
    """A special token next to a medium is another one, or is gone, and nothing else differs."""
    places = text_hunks(finding)
    if not places or not all(_is_media_marker(place, _placeholder_texts(finding)) for place in places):
        return None
    if not _media_differ(finding, in_order=False):
        return None
    first = places[0]
    words = (
        f"The reference has {quote_text(''.join(first.reference))} {_between(first)}, "
        f"{finding.pair.tested.backend} has {quote_text(''.join(first.tested))}, at {_places(places)}."
    )
    return 0.9, words


def _is_media_marker(place: TextHunk, placeholders: set[str]) -> bool:
    """Whether one special token beside a medium is another one, or is gone: the medium itself is not."""
    sides = (
        is_visible_difference(place.reference, media=True),
        is_visible_difference(place.tested, media=True),
    )
    changed = [piece for side in sides for piece in side]
    if (
        max(map(len, sides)) != 1
        or not all(map(is_special_token, changed))
        or placeholders.intersection(changed)
    ):
        return False
    return any(piece is not None and is_media_placeholder(piece) for piece in place.neighbours)


def _system_turns(text: str) -> list[str]:
    return [(written or other).strip() for written, other in _SYSTEM_TURN.findall(text)]


def _placeholder_texts(finding: RuleInput) -> set[str]:
    """What the media's own positions say in the reference."""
    pair = finding.pair
    ids, spans = pair.reference.input_ids or (), pair.reference.spans or ()
    return {pair.token(ids[span.offset]) for span in spans}


def _specials(places: Iterable[TextHunk]) -> bool:
    return any(
        is_special_token(piece)
        for place in places
        for piece in is_visible_difference(place.reference + place.tested)
    )


def _layout(text: str) -> list[tuple[str, int]]:
    """Every medium's tokens, each with how many characters stand in front of it, white space and media
    not counted.
    """
    found, characters = [], 0
    for piece in split_pieces(text):
        if is_media_placeholder(piece):
            found.append((piece, characters))
        elif piece.strip():
            characters += len(piece)
    return found


def _word_in_front(text: str, medium: int) -> str:
    """What is written before one of the media's tokens."""
    found = split_pieces(text)
    place = [index for index, piece in enumerate(found) if is_media_placeholder(piece)][medium]
    words = is_visible_difference(found[:place])
    return quote_text(words[-1]) if words else "nothing"


def _same_words(finding: RuleInput) -> bool:
    """Whether the same is written, media and white space apart: two texts that a medium no longer parts
    may have become one word.
    """
    ours, theirs = ("".join(is_visible_difference(split_pieces(text))) for text in rendered_texts(finding))
    return ours == theirs


def _media_differ(finding: RuleInput, *, in_order: bool) -> bool:
    ours, theirs = ([marker for marker, _ in _layout(text)] for text in rendered_texts(finding))
    return ours != theirs if in_order else sorted(ours) != sorted(theirs)


def _is_at_media_marker(place: TextHunk) -> bool:
    """Whether a part can end here: at a special token, or at an end of the text."""
    moved = any(map(is_media_placeholder, place.reference))
    return moved or any(piece is None or is_special_token(piece) for piece in place.neighbours)


def _between(place: TextHunk) -> str:
    before, after = place.neighbours
    if before is None:
        return f"before {quote_text(after or '')}"
    return (
        f"between {quote_text(before)} and {quote_text(after)}" if after else f"behind {quote_text(before)}"
    )


def _places(places: Sequence[TextHunk]) -> str:
    return f"{len(places)} place{'s' if len(places) > 1 else ''}"
