"""How rules read two texts: word by word, with white space and special tokens apart."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from vlm_parity.diagnosis.registry import RuleInput
from vlm_parity.diff.align import collapse_runs, compute_opcodes
from vlm_parity.diff.pair import TracePair
from vlm_parity.diff.special_tokens import SPECIAL_TOKEN, is_media_placeholder, is_special_token
from vlm_parity.schema.trace import Stage, Trace
from vlm_parity.util.sequences import count_common_prefix
from vlm_parity.util.text import escape_invisible

_PIECES = re.compile(rf"{SPECIAL_TOKEN}|\s+|\w+|.", re.DOTALL)
_SHOWN = 60  # characters of a quotation

TEXT_STAGES = (Stage.PROMPT, Stage.INPUT_IDS)
"""Where two texts can be read: the rendered prompts, or what the ids say."""


def split_pieces(text: str) -> tuple[str, ...]:
    """Words, white space, punctuation and special tokens, in order."""
    return tuple(_PIECES.findall(text))


def quote_text(text: str) -> str:
    """Text of an engine as a sentence can hold it: escaped, cut where it is long."""
    shown = escape_invisible(text)
    return f'"{shown[:_SHOWN]}..."' if len(shown) > _SHOWN else f'"{shown}"'


@dataclass(frozen=True)
class TextHunk:
    """One place at which two texts differ."""

    reference: tuple[str, ...]
    """The pieces that only the reference has here."""
    tested: tuple[str, ...]
    before: tuple[str, ...]
    """All pieces of the reference in front of it."""
    after: tuple[str, ...]

    @property
    def change(self) -> tuple[str, str]:
        """What only the reference has and what only the tested has, to the character."""
        ours, theirs = "".join(self.reference), "".join(self.tested)
        start = count_common_prefix(ours, theirs)
        stop = count_common_prefix(ours[start:][::-1], theirs[start:][::-1])
        return ours[start : len(ours) - stop], theirs[start : len(theirs) - stop]

    @property
    def within(self) -> bool:
        """Whether what differs has the same characters on both of its sides."""
        ours, theirs = "".join(self.reference), "".join(self.tested)
        start = count_common_prefix(ours, theirs)
        return bool(start and count_common_prefix(ours[start:][::-1], theirs[start:][::-1]))

    @property
    def white(self) -> bool:
        """Whether nothing but white space differs."""
        return not any(piece.strip() for piece in self.reference + self.tested)

    @property
    def at_template(self) -> bool:
        """Whether it touches what the chat template writes: an end of the prompt, a special token that
        is no medium's, or a role's name behind one.
        """
        before, after = self.neighbours
        if before is None or after is None:
            return True
        words = [piece for piece in self.before if piece.strip()]
        names_a_role = len(words) > 1 and _is_turn_marker(words[-2]) and words[-1].isalpha()
        return _is_turn_marker(before) or _is_turn_marker(after) or names_a_role

    @property
    def neighbours(self) -> tuple[str | None, str | None]:
        """The pieces next to it that are not white space."""
        before = next((piece for piece in reversed(self.before) if piece.strip()), None)
        return before, next((piece for piece in self.after if piece.strip()), None)


def _is_turn_marker(piece: str) -> bool:
    return is_special_token(piece) and not is_media_placeholder(piece)


def rendered_texts(finding: RuleInput) -> tuple[str, str]:
    """What is to be read on both sides at the stage that differs."""
    pair = finding.pair
    if finding.diff.stage is Stage.PROMPT:
        return pair.reference.prompt or "", pair.tested.prompt or ""
    return decode_text(pair, pair.reference), decode_text(pair, pair.tested)


def decode_text(pair: TracePair, trace: Trace) -> str:
    """The text of a trace's ids, a run of one special token written once: that of a medium's
    placeholder, above all.
    """
    runs = ((pair.token(token), count) for token, count in collapse_runs(trace.input_ids or ()))
    return "".join(text if is_special_token(text) else text * count for text, count in runs)


def is_visible_difference(found: Iterable[str], *, media: bool = False) -> list[str]:
    """The pieces that are not white space; what stands for media only where it is asked for."""
    return [piece for piece in found if piece.strip() and (media or not is_media_placeholder(piece))]


def has_moved_past_media(finding: RuleInput) -> list[str]:
    """The words in front of a medium in the reference that follow it in the tested, if there are any."""
    ours, theirs = (_text_before_media(text) for text in rendered_texts(finding))
    written = is_visible_difference(split_pieces(rendered_texts(finding)[1]))
    for here, there in zip(ours, theirs, strict=False):
        passed = here[len(there) :]
        if passed and there + passed == here and written[len(there) : len(here)] == passed:
            return passed
    return []


def _text_before_media(text: str) -> list[list[str]]:
    """The words in front of every medium's tokens."""
    found = split_pieces(text)
    return [
        is_visible_difference(found[:place])
        for place, piece in enumerate(found)
        if is_media_placeholder(piece)
    ]


def text_hunks(finding: RuleInput) -> tuple[TextHunk, ...]:
    """The places at which the two texts differ."""
    return _align_texts(*rendered_texts(finding))


@lru_cache(maxsize=4)  # the rules ask for the same two texts in turn
def _align_texts(reference: str, tested: str) -> tuple[TextHunk, ...]:
    a, b = split_pieces(reference), split_pieces(tested)
    start = count_common_prefix(a, b)
    stop = count_common_prefix(a[start:][::-1], b[start:][::-1])
    left, right = a[start : len(a) - stop], b[start : len(b) - stop]
    blocks = compute_opcodes(left, right)
    return tuple(
        TextHunk(left[i:j], right[k:m], a[: start + i], a[start + j :])
        for tag, i, j, k, m in blocks
        if tag != "equal"
    )
