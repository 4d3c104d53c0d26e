"""Rules on ids: differences that the text does not show."""

from __future__ import annotations

import re
from collections.abc import Iterable

from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.diagnosis.text_diff import quote_text
from vlm_parity.diff.special_tokens import is_special_token
from vlm_parity.schema.trace import Span, Stage, Trace
from vlm_parity.schema.verdict import Hunk, SequenceEvidence

_PADDING = re.compile(r"pad|end_?of_?text|eos|</s>|<unk>", re.IGNORECASE)
_OF_MEDIA = re.compile(r"image|img|video|vision|audio", re.IGNORECASE)


@register_rule("pad token used as image token", Stage.INPUT_IDS)
def explain_pad_token(rule_input: RuleInput) -> Explanation | None:
    """Detect a padding or end token at all positions of a medium's placeholder."""
    replacement = _find_replacement(rule_input)
    if replacement is None or not _is_padding(rule_input.pair.token(replacement[1])):
        return None
    sentence = (
        f"{_describe_replacement(rule_input, *replacement)}: the id of the pad token is used as that of the "
        "image token."
    )
    return (1.0 if replacement[2] == replacement[3] else 0.95), sentence


@register_rule("placeholder token differs", Stage.INPUT_IDS)
def explain_other_token(rule_input: RuleInput) -> Explanation | None:
    """Detect another id at all positions of a medium's placeholder."""
    replacement = _find_replacement(rule_input)
    if replacement is None or _is_padding(rule_input.pair.token(replacement[1])):
        return None
    return 0.95, f"{_describe_replacement(rule_input, *replacement)}."


@register_rule("BOS token doubled", Stage.INPUT_IDS)
def explain_double_bos(rule_input: RuleInput) -> Explanation | None:
    """Detect a first id that is repeated."""
    reference, tested = _ids(rule_input)
    if not reference or tested[:2] != (reference[0], reference[0]) or reference[1:2] == reference[:1]:
        return None
    token = quote_text(rule_input.pair.token(reference[0]))
    sentence = (
        f"{rule_input.pair.tested.backend} starts with {token} ({reference[0]}) twice: the chat template "
        "contains it, and the tokenizer adds it again."
    )
    return (1.0 if tested[1:] == reference else 0.8), sentence


@register_rule("BOS token missing", Stage.INPUT_IDS)
def explain_missing_bos(rule_input: RuleInput) -> Explanation | None:
    """Detect that only the first id, a special token, is missing."""
    reference, tested = _ids(rule_input)
    if not tested or tested != reference[1:] or not is_special_token(rule_input.pair.token(reference[0])):
        return None
    token = quote_text(rule_input.pair.token(reference[0]))
    backend = rule_input.pair.tested.backend
    return (
        1.0,
        f"{backend} omits the first id, {token} ({reference[0]}); the other {len(tested)} ids are equal.",
    )


@register_rule("media reordered", Stage.INPUT_IDS)
def explain_media_order(rule_input: RuleInput) -> Explanation | None:
    """Detect media of the same sizes in a different order."""
    reference, tested = (_sizes(trace.spans) for trace in (rule_input.pair.reference, rule_input.pair.tested))
    if reference == tested or sorted(reference) != sorted(tested):
        return None
    backend = rule_input.pair.tested.backend
    sentence = (
        f"The media have {_format_sizes(reference)} positions in the reference and {_format_sizes(tested)} "
        f"in {backend}: the same sizes in a different order."
    )
    return 0.95, sentence


@register_rule("special tokens in user text tokenized differently", Stage.INPUT_IDS)
def explain_special_tokens(rule_input: RuleInput) -> Explanation | None:
    """Detect equal text that only one side tokenizes as a special token."""
    for hunk in _other_hunks(rule_input):
        reference, tested = _tokens(rule_input, hunk.reference), _tokens(rule_input, hunk.tested)
        special = next(
            (t for t in reference + tested if is_special_token(t) and (t in reference) != (t in tested)), None
        )
        if special is not None and "".join(reference) == "".join(tested):
            reader = "the reference" if special in reference else rule_input.pair.tested.backend
            sentence = (
                f"Only {reader} tokenizes {quote_text(special)} as a special token, at index "
                f"{hunk.reference_index}: {len(reference)} ids in the reference, {len(tested)} in "
                f"{rule_input.pair.tested.backend}."
            )
            return 0.95, sentence
    return None


@register_rule("text tokenized differently", Stage.INPUT_IDS)
def explain_tokenization(rule_input: RuleInput) -> Explanation | None:
    """Detect different ids of equal text: the tokenizers differ, or one side tokenizes the text in pieces."""
    hunks = _other_hunks(rule_input)
    texts = [
        ("".join(_tokens(rule_input, h.reference)), "".join(_tokens(rule_input, h.tested))) for h in hunks
    ]
    if (
        not hunks
        or any(reference != tested for reference, tested in texts)
        or explain_special_tokens(rule_input)
    ):
        return None
    first, (text, _) = hunks[0], texts[0]
    sentence = (
        f"{quote_text(text)} at index {first.reference_index} is tokenized as "
        f"{_format_runs(rule_input, first.reference)} in the reference and as "
        f"{_format_runs(rule_input, first.tested)} in {rule_input.pair.tested.backend}; "
        f"{len(hunks)} place{'s differ' if len(hunks) > 1 else ' differs'}."
    )
    return 0.95, sentence


def _find_replacement(rule_input: RuleInput) -> tuple[int, int, int, int] | None:
    """Find a placeholder that one other id replaces everywhere on the tested side.

    Returns:
        The placeholder, the other id, and the numbers of positions in the reference and on the tested side.
    """
    for placeholder in _placeholders(rule_input.pair.reference):
        if placeholder in (rule_input.pair.tested.input_ids or ()):
            continue
        opposite: set[int] = set()
        reference_count = tested_count = 0
        for hunk in _hunks(rule_input):
            for reference, tested in _side_by_side(hunk):
                if reference[0] == placeholder:
                    opposite.add(tested[0])
                    reference_count += reference[1]
                    tested_count += tested[1]
        if len(opposite) == 1:
            return placeholder, opposite.pop(), reference_count, tested_count
    return None


def _side_by_side(hunk: Hunk) -> Iterable[tuple[tuple[int, int], tuple[int, int]]]:
    """Pair the runs of a hunk; if their numbers differ, the counterparts are unknown."""
    if len(hunk.reference) != len(hunk.tested):
        unknown = (-1, 0)
        return [(run, unknown) for run in hunk.reference]
    return zip(hunk.reference, hunk.tested, strict=True)


def _describe_replacement(
    rule_input: RuleInput, placeholder: int, other: int, reference_count: int, tested_count: int
) -> str:
    pair = rule_input.pair
    return (
        f"{pair.tested.backend} has {quote_text(pair.token(other))} ({other}) at {tested_count} positions, "
        f"and the reference {quote_text(pair.token(placeholder))} ({placeholder}) at {reference_count}"
    )


def _is_padding(text: str) -> bool:
    return _PADDING.search(text) is not None and _OF_MEDIA.search(text) is None


def _placeholders(trace: Trace) -> list[int]:
    """List the distinct ids at the media's positions, in order."""
    ids = trace.input_ids or ()
    return list(dict.fromkeys(ids[position] for span in trace.spans or () for position in span.positions))


def _hunks(rule_input: RuleInput) -> tuple[Hunk, ...]:
    evidence = rule_input.diff.evidence
    return evidence.hunks if isinstance(evidence, SequenceEvidence) else ()


def _other_hunks(rule_input: RuleInput) -> list[Hunk]:
    return [hunk for hunk in _hunks(rule_input) if not hunk.equal]


def _ids(rule_input: RuleInput) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return rule_input.pair.reference.input_ids or (), rule_input.pair.tested.input_ids or ()


def _tokens(rule_input: RuleInput, runs: Iterable[tuple[int, int]]) -> list[str]:
    return [text for token, count in runs for text in [rule_input.pair.token(token)] * count]


def _format_runs(rule_input: RuleInput, runs: Iterable[tuple[int, int]]) -> str:
    return ", ".join(rule_input.pair.run(*run) for run in runs)


def _sizes(spans: tuple[Span, ...] | None) -> list[tuple[str, int]]:
    return [(span.modality, span.embedded) for span in spans or ()]


def _format_sizes(sizes: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{count} ({modality})" for modality, count in sizes)
