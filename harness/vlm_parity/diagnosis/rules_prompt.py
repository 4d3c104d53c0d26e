"""Rules on the text: of the rendered prompts or, if these agree or are unknown, of the input ids."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.diagnosis.text_diff import (
    TEXT_STAGES,
    TextHunk,
    align_rendered_texts,
    filter_visible,
    find_words_moved_past_media,
    get_rendered_texts,
    quote_text,
    split_pieces,
)
from vlm_parity.diff.special_tokens import is_media_placeholder, is_special_token
from vlm_parity.schema.trace import Stage

_SYSTEM_TURN = re.compile(
    r"(?:<\|(?:im_start|start_header_id)\|>\s*system\b|<\|system\|>|<<SYS>>)([^<]*)|\[SYSTEM_PROMPT\]([^\[]*)"
)
"""A system turn with its text."""
_ANSWER_TURN = re.compile(r"assistant|model|\[/INST\]", re.IGNORECASE)


@register_rule("chat template whitespace differs", *TEXT_STAGES)
def explain_template_whitespace(rule_input: RuleInput) -> Explanation | None:
    """Detect differences in white space only, next to the chat template's own text."""
    places = align_rendered_texts(rule_input)
    at_template = [place for place in places if place.at_template]
    if not at_template or not all(place.white for place in places):
        return None
    first = at_template[0]
    sentence = (
        f"The chat template renders {quote_text(''.join(first.reference))} {_between(first)} in the "
        f"reference and {quote_text(''.join(first.tested))} in {rule_input.pair.tested.backend}; only white "
        f"space differs, at {_places(places)}."
    )
    return (0.95 if len(at_template) == len(places) else 0.5), sentence


@register_rule("text part separator differs", *TEXT_STAGES)
def explain_text_joining(rule_input: RuleInput) -> Explanation | None:
    """Detect a separator that is added or missing between the parts of a message."""
    places = align_rendered_texts(rule_input)
    changes = [place.change for place in places]
    # If a separator starts or ends with spaces, a diff may assign them to the adjacent words.
    alike = {tuple(side.strip() or side for side in change) for change in changes}
    if len(alike) != 1 or any(place.at_template and not place.within for place in places):
        return None
    lost, gained = changes[0]
    if bool(lost) == bool(gained) or any(c.isalnum() for c in lost + gained) or _specials(places):
        return None
    verb = "adds" if gained else "omits"
    sentence = (
        f"{rule_input.pair.tested.backend} {verb} {quote_text(lost + gained)} {_between(places[0])}, at "
        f"{_places(places)}, and all other text is equal: it joins the text parts of a message itself "
        "instead of leaving that to the chat template."
    )
    return 0.9, sentence


@register_rule("text part dropped", *TEXT_STAGES)
def explain_dropped_text(rule_input: RuleInput) -> Explanation | None:
    """Detect missing words of the reference, with no other change except in white space.

    Missing special tokens mean that a whole message is missing, not a part of one.
    """
    places = align_rendered_texts(rule_input)
    if any(filter_visible(place.tested) for place in places) or _specials(places):
        return None
    if _media_differ(rule_input, in_order=True):
        return None
    lost = [place for place in places if any(c.isalnum() for c in "".join(filter_visible(place.reference)))]
    if not lost:
        return None
    first = lost[0]
    missing = "".join(piece for piece in first.reference if not is_media_placeholder(piece))
    others = f" (and more, at {_places(lost)})" if len(lost) > 1 else ""
    passed = find_words_moved_past_media(rule_input)
    # If the words after a medium begin like those before it, one of the two is missing, and nothing moved.
    moved = (
        f", except that a medium is placed before {quote_text(' '.join(passed))}, not after it"
        if passed and passed != filter_visible(first.reference)
        else ""
    )
    sentence = (
        f"{rule_input.pair.tested.backend} omits {quote_text(missing.strip())} {_between(first)}{others}; "
        f"all other text is present{moved}."
    )
    return (0.95 if any(map(_is_at_media_marker, lost)) else 0.6), sentence


@register_rule("system prompt missing or added", *TEXT_STAGES)
def explain_system_prompt(rule_input: RuleInput) -> Explanation | None:
    """Detect a system turn on one side only, whose text the other side lacks."""
    reference, tested = (_system_turns(text) for text in get_rendered_texts(rule_input))
    more, other = (
        (reference, get_rendered_texts(rule_input)[1])
        if len(reference) > len(tested)
        else (tested, get_rendered_texts(rule_input)[0])
    )
    if len(reference) == len(tested) or (more[0] and more[0] in other):
        return None
    verb = "has no" if more is reference else "adds a"
    backend = rule_input.pair.tested.backend
    return 0.95, (
        f"{backend} {verb} system turn {quote_text(more[0])}: the reference has {len(reference)}, "
        f"{backend} {len(tested)}."
    )


@register_rule("system prompt differs", *TEXT_STAGES)
def explain_other_system_prompt(rule_input: RuleInput) -> Explanation | None:
    """Detect a system turn with a different text."""
    reference, tested = (_system_turns(text) for text in get_rendered_texts(rule_input))
    other = [(a, b) for a, b in zip(reference, tested, strict=False) if a.split() != b.split()]
    if len(reference) != len(tested) or not other:
        return None
    expected, actual = (quote_text(text) for text in other[0])
    return (
        0.97,
        f"The system turn is {expected} in the reference and {actual} in {rule_input.pair.tested.backend}.",
    )


@register_rule("generation prompt missing or added", *TEXT_STAGES)
def explain_generation_prompt(rule_input: RuleInput) -> Explanation | None:
    """Detect a generation prompt on one side only."""
    reference, tested = get_rendered_texts(rule_input)
    longer, shorter = (reference, tested) if len(reference) > len(tested) else (tested, reference)
    rest = longer[len(shorter) :]
    if not longer.startswith(shorter):
        return _is_answer_difference(rule_input)
    if not _is_answer_header(rest):
        return None
    side = "the reference" if longer == reference else rule_input.pair.tested.backend
    return 0.95, f"Only {side} ends with the generation prompt {quote_text(rest)}."


def _is_answer_difference(rule_input: RuleInput) -> Explanation | None:
    """Detect a generation prompt on one side only, if white space before it or other places differ, too."""
    *others, last = align_rendered_texts(rule_input)
    reference, tested = "".join(last.reference), "".join(last.tested)
    rest = reference if not tested.strip() else tested if not reference.strip() else ""
    if filter_visible(last.after) or not _is_answer_header(rest):
        return None
    side = "the reference" if rest == reference else rule_input.pair.tested.backend
    more = f"the texts differ at {_places(others)} more" if others else "white space before it differs"
    return 0.6, f"Only {side} ends with the generation prompt {quote_text(rest)}, and {more}."


def _is_answer_header(text: str) -> bool:
    header = filter_visible(split_pieces(text))
    named = [piece for piece in header if not is_special_token(piece)]
    return bool(_ANSWER_TURN.search(text)) and len(named) <= 1 and any(map(is_special_token, header))


@register_rule("media placed elsewhere in the prompt", *TEXT_STAGES)
def explain_media_position(rule_input: RuleInput) -> Explanation | None:
    """Detect media between different words, with equal words and equal media."""
    reference, tested = (_layout(text) for text in get_rendered_texts(rule_input))
    if (
        not _same_words(rule_input)
        or reference == tested
        or [m for m, _ in reference] != [m for m, _ in tested]
    ):
        return None
    moved = next(place for place, (a, b) in enumerate(zip(reference, tested, strict=True)) if a != b)
    expected, actual = (_find_word_before(text, moved) for text in get_rendered_texts(rule_input))
    sentence = (
        f"The first medium that moved, {quote_text(reference[moved][0])}, follows {expected} in the "
        f"reference and {actual} in {rule_input.pair.tested.backend}; the words are equal."
    )
    return 0.95, sentence


@register_rule("media modality differs", Stage.PROMPT)
def explain_other_modality(rule_input: RuleInput) -> Explanation | None:
    """Detect a medium of a different modality, such as an image in place of a video."""
    reference, tested = ([medium for medium, _ in _layout(text)] for text in get_rendered_texts(rule_input))
    missing = [medium for medium in reference if medium not in tested]
    added = [medium for medium in tested if medium not in reference]
    if not missing or not added:
        return None
    backend = rule_input.pair.tested.backend
    return (
        0.8,
        f"{backend} has {quote_text(added[0])} in place of {quote_text(missing[-1])} in the reference.",
    )


@register_rule("media reordered", *TEXT_STAGES)
def explain_media_order(rule_input: RuleInput) -> Explanation | None:
    """Detect media of several modalities in a different order, with equal words."""
    reference, tested = ([marker for marker, _ in _layout(text)] for text in get_rendered_texts(rule_input))
    if not _same_words(rule_input) or reference == tested or _media_differ(rule_input, in_order=False):
        return None
    order, other = " ".join(reference), " ".join(tested)
    backend = rule_input.pair.tested.backend
    return 0.9, (
        f"The order of the media is {quote_text(order)} in the reference and {quote_text(other)} in "
        f"{backend}."
    )


@register_rule("special tokens around media differ", *TEXT_STAGES)
def explain_media_markers(rule_input: RuleInput) -> Explanation | None:
    """Detect a special token next to a medium that is replaced or missing, with no other difference."""
    places = align_rendered_texts(rule_input)
    if not places or not all(_is_media_marker(place, _placeholder_texts(rule_input)) for place in places):
        return None
    if not _media_differ(rule_input, in_order=False):
        return None
    first = places[0]
    sentence = (
        f"The reference has {quote_text(''.join(first.reference))} {_between(first)}, and "
        f"{rule_input.pair.tested.backend} {quote_text(''.join(first.tested))}, at {_places(places)}."
    )
    return 0.9, sentence


def _is_media_marker(place: TextHunk, placeholders: set[str]) -> bool:
    """Return whether one special token next to a medium, but not the medium, is replaced or missing."""
    sides = (
        filter_visible(place.reference, media=True),
        filter_visible(place.tested, media=True),
    )
    changed = [piece for side in sides for piece in side]
    if (
        max(map(len, sides)) != 1
        or not all(map(is_special_token, changed))
        or placeholders.intersection(changed)
    ):
        return False
    return any(piece is not None and is_media_placeholder(piece) for piece in place.neighbors)


def _system_turns(text: str) -> list[str]:
    return [(written or other).strip() for written, other in _SYSTEM_TURN.findall(text)]


def _placeholder_texts(rule_input: RuleInput) -> set[str]:
    """Return the texts of the tokens at the media's positions in the reference."""
    pair = rule_input.pair
    ids, spans = pair.reference.input_ids or (), pair.reference.spans or ()
    return {pair.token(ids[span.offset]) for span in spans}


def _specials(places: Iterable[TextHunk]) -> bool:
    return any(
        is_special_token(piece)
        for place in places
        for piece in filter_visible(place.reference + place.tested)
    )


def _layout(text: str) -> list[tuple[str, int]]:
    """List the media tokens, each with the number of characters before it, without white space and media."""
    layout: list[tuple[str, int]] = []
    characters = 0
    for piece in split_pieces(text):
        if is_media_placeholder(piece):
            layout.append((piece, characters))
        elif piece.strip():
            characters += len(piece)
    return layout


def _find_word_before(text: str, medium: int) -> str:
    """Return the last word before one of the media tokens."""
    pieces = split_pieces(text)
    index = [index for index, piece in enumerate(pieces) if is_media_placeholder(piece)][medium]
    words = filter_visible(pieces[:index])
    return quote_text(words[-1]) if words else "nothing"


def _same_words(rule_input: RuleInput) -> bool:
    """Return whether the texts are equal except for media and white space.

    Words are joined, since two words that a medium no longer separates may have become one.
    """
    reference, tested = (
        "".join(filter_visible(split_pieces(text))) for text in get_rendered_texts(rule_input)
    )
    return reference == tested


def _media_differ(rule_input: RuleInput, *, in_order: bool) -> bool:
    reference, tested = ([marker for marker, _ in _layout(text)] for text in get_rendered_texts(rule_input))
    return reference != tested if in_order else sorted(reference) != sorted(tested)


def _is_at_media_marker(place: TextHunk) -> bool:
    """Return whether a part of a message can end here: at a special token, or at an end of the text."""
    moved = any(map(is_media_placeholder, place.reference))
    return moved or any(piece is None or is_special_token(piece) for piece in place.neighbors)


def _between(place: TextHunk) -> str:
    before, after = place.neighbors
    if before is None:
        return f"before {quote_text(after or '')}"
    return f"between {quote_text(before)} and {quote_text(after)}" if after else f"after {quote_text(before)}"


def _places(places: Sequence[TextHunk]) -> str:
    return f"{len(places)} place{'s' if len(places) > 1 else ''}"
