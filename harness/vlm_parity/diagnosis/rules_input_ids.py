"""Rules on ids: those that no text tells, because other ids say the same or stand for media."""

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
def explain_pad_token(finding: RuleInput) -> Explanation | None:
    """A padding or end token stands wherever the reference has a medium's placeholder."""
    found = _replaces_media(finding)
    if found is None or not _is_padding(finding.pair.token(found[1])):
        return None
    words = f"{_replaced(finding, *found)}: the pad token's id is taken for the image token's."
    return (1.0 if found[2] == found[3] else 0.95), words


@register_rule("placeholder token differs", Stage.INPUT_IDS)
def explain_other_token(finding: RuleInput) -> Explanation | None:
    """One other id stands wherever the reference has a medium's placeholder."""
    found = _replaces_media(finding)
    if found is None or _is_padding(finding.pair.token(found[1])):
        return None
    return 0.95, f"{_replaced(finding, *found)}."


@register_rule("BOS token doubled", Stage.INPUT_IDS)
def explain_double_bos(finding: RuleInput) -> Explanation | None:
    """The first id stands twice."""
    ours, theirs = _ids(finding)
    if not ours or theirs[:2] != (ours[0], ours[0]) or ours[1:2] == ours[:1]:
        return None
    token = quote_text(finding.pair.token(ours[0]))
    words = (
        f"{finding.pair.tested.backend} starts with {token} ({ours[0]}) twice: the template writes it, and "
        "the tokenizer adds it once more."
    )
    return (1.0 if theirs[1:] == ours else 0.8), words


@register_rule("BOS token missing", Stage.INPUT_IDS)
def explain_missing_bos(finding: RuleInput) -> Explanation | None:
    """All is there but the first id, which is a special token."""
    ours, theirs = _ids(finding)
    if not theirs or theirs != ours[1:] or not is_special_token(finding.pair.token(ours[0])):
        return None
    token = quote_text(finding.pair.token(ours[0]))
    backend = finding.pair.tested.backend
    return 1.0, f"{backend} leaves out the first id, {token} ({ours[0]}); all {len(theirs)} others are there."


@register_rule("media reordered", Stage.INPUT_IDS)
def explain_media_order(finding: RuleInput) -> Explanation | None:
    """The media hold as many positions each as in the reference, in another order."""
    ours, theirs = (_sizes(trace.spans) for trace in (finding.pair.reference, finding.pair.tested))
    if ours == theirs or sorted(ours) != sorted(theirs):
        return None
    backend = finding.pair.tested.backend
    words = (
        f"The media hold {_format_sizes(ours)} in the reference and {_format_sizes(theirs)} in {backend}: the same "
        "sizes in another order."
    )
    return 0.95, words


@register_rule("special tokens in user text tokenized differently", Stage.INPUT_IDS)
def explain_special_tokens(finding: RuleInput) -> Explanation | None:
    """The same text, which one side reads as a special token and the other as plain characters."""
    for hunk in _other_hunks(finding):
        ours, theirs = _tokens(finding, hunk.reference), _tokens(finding, hunk.tested)
        special = next(
            (t for t in ours + theirs if is_special_token(t) and (t in ours) != (t in theirs)), None
        )
        if special is not None and "".join(ours) == "".join(theirs):
            reader = "the reference" if special in ours else finding.pair.tested.backend
            words = (
                f"Only {reader} reads {quote_text(special)} as a special token, at index {hunk.reference_index}: "
                f"{len(ours)} ids in the reference, {len(theirs)} in {finding.pair.tested.backend}."
            )
            return 0.95, words
    return None


@register_rule("text tokenized differently", Stage.INPUT_IDS)
def explain_tokenization(finding: RuleInput) -> Explanation | None:
    """Other ids that say the same: the tokenizers differ, or one works on pieces of the text."""
    hunks = _other_hunks(finding)
    said = [("".join(_tokens(finding, h.reference)), "".join(_tokens(finding, h.tested))) for h in hunks]
    if not hunks or any(ours != theirs for ours, theirs in said) or explain_special_tokens(finding):
        return None
    first, (text, _) = hunks[0], said[0]
    words = (
        f"{quote_text(text)} at index {first.reference_index} is {_format_runs(finding, first.reference)} in the "
        f"reference and {_format_runs(finding, first.tested)} in {finding.pair.tested.backend}, at {len(hunks)} "
        f"place{'s' if len(hunks) > 1 else ''}."
    )
    return 0.95, words


def _replaces_media(finding: RuleInput) -> tuple[int, int, int, int] | None:
    """A placeholder that the tested side has nowhere, and the one id that stands opposite all of its runs:
    (placeholder, id, positions in the reference, positions in the tested).
    """
    for placeholder in _placeholders(finding.pair.reference):
        if placeholder in (finding.pair.tested.input_ids or ()):
            continue
        opposite: set[int] = set()
        here = there = 0
        for hunk in _hunks(finding):
            for ours, theirs in _side_by_side(hunk):
                if ours[0] == placeholder:
                    opposite.add(theirs[0])
                    here, there = here + ours[1], there + theirs[1]
        if len(opposite) == 1:
            return placeholder, opposite.pop(), here, there
    return None


def _side_by_side(hunk: Hunk) -> Iterable[tuple[tuple[int, int], tuple[int, int]]]:
    """Which run stands opposite which; in pieces of other lengths nothing can be told."""
    if len(hunk.reference) != len(hunk.tested):
        nothing = (-1, 0)
        return [(run, nothing) for run in hunk.reference]
    return zip(hunk.reference, hunk.tested, strict=True)


def _replaced(finding: RuleInput, placeholder: int, other: int, here: int, there: int) -> str:
    pair = finding.pair
    return (
        f"{there} positions of {pair.tested.backend} hold {quote_text(pair.token(other))} ({other}) where {here} "
        f"of the reference hold {quote_text(pair.token(placeholder))} ({placeholder})"
    )


def _is_padding(text: str) -> bool:
    return _PADDING.search(text) is not None and _OF_MEDIA.search(text) is None


def _placeholders(trace: Trace) -> list[int]:
    """The ids at the media's positions, each once, in order."""
    ids = trace.input_ids or ()
    return list(dict.fromkeys(ids[at] for span in trace.spans or () for at in span.positions))


def _hunks(finding: RuleInput) -> tuple[Hunk, ...]:
    evidence = finding.diff.evidence
    return evidence.hunks if isinstance(evidence, SequenceEvidence) else ()


def _other_hunks(finding: RuleInput) -> list[Hunk]:
    return [hunk for hunk in _hunks(finding) if not hunk.equal]


def _ids(finding: RuleInput) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return finding.pair.reference.input_ids or (), finding.pair.tested.input_ids or ()


def _tokens(finding: RuleInput, runs: Iterable[tuple[int, int]]) -> list[str]:
    return [text for token, count in runs for text in [finding.pair.token(token)] * count]


def _format_runs(finding: RuleInput, runs: Iterable[tuple[int, int]]) -> str:
    return ", ".join(finding.pair.run(*run) for run in runs)


def _sizes(spans: tuple[Span, ...] | None) -> list[tuple[str, int]]:
    return [(span.modality, span.embedded) for span in spans or ()]


def _format_sizes(sizes: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{count} ({modality})" for modality, count in sizes)
