"""Comparison of two texts for rules: words, white space and special tokens are separate pieces."""

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
"""Stages with texts to compare: the rendered prompts, or the texts of the ids."""


def split_pieces(text: str) -> tuple[str, ...]:
    """Split a text into words, white space, punctuation and special tokens."""
    return tuple(_PIECES.findall(text))


def quote_text(text: str) -> str:
    """Quote a text for a sentence: escaped, and shortened if it is long."""
    shown = escape_invisible(text)
    return f'"{shown[:_SHOWN]}..."' if len(shown) > _SHOWN else f'"{shown}"'


@dataclass(frozen=True)
class TextHunk:
    """One place at which two texts differ."""

    reference: tuple[str, ...]
    """The pieces that only the reference has."""
    tested: tuple[str, ...]
    before: tuple[str, ...]
    """All pieces of the reference before it."""
    after: tuple[str, ...]

    @property
    def change(self) -> tuple[str, str]:
        """The characters that only the reference and only the tested side have."""
        reference, tested = "".join(self.reference), "".join(self.tested)
        start = count_common_prefix(reference, tested)
        stop = count_common_prefix(reference[start:][::-1], tested[start:][::-1])
        return reference[start : len(reference) - stop], tested[start : len(tested) - stop]

    @property
    def within(self) -> bool:
        """True if the pieces share characters at their start and at their end."""
        reference, tested = "".join(self.reference), "".join(self.tested)
        start = count_common_prefix(reference, tested)
        return bool(start and count_common_prefix(reference[start:][::-1], tested[start:][::-1]))

    @property
    def white(self) -> bool:
        """True if only white space differs."""
        return not any(piece.strip() for piece in self.reference + self.tested)

    @property
    def at_template(self) -> bool:
        """True if it is next to the chat template's own text.

        That is an end of the prompt, a special token that is not a placeholder, or a role after one.
        """
        before, after = self.neighbors
        if before is None or after is None:
            return True
        words = [piece for piece in self.before if piece.strip()]
        follows_role = len(words) > 1 and _is_turn_marker(words[-2]) and words[-1].isalpha()
        return _is_turn_marker(before) or _is_turn_marker(after) or follows_role

    @property
    def neighbors(self) -> tuple[str | None, str | None]:
        """The adjacent pieces that are not white space."""
        before = next((piece for piece in reversed(self.before) if piece.strip()), None)
        return before, next((piece for piece in self.after if piece.strip()), None)


def _is_turn_marker(piece: str) -> bool:
    return is_special_token(piece) and not is_media_placeholder(piece)


def get_rendered_texts(rule_input: RuleInput) -> tuple[str, str]:
    """Return the texts of both sides at the stage that differs."""
    pair = rule_input.pair
    if rule_input.diff.stage is Stage.PROMPT:
        return pair.reference.prompt or "", pair.tested.prompt or ""
    return decode_text(pair, pair.reference), decode_text(pair, pair.tested)


def decode_text(pair: TracePair, trace: Trace) -> str:
    """Decode the ids of a trace, writing each run of one special token, such as a placeholder, once."""
    runs = ((pair.token(token), count) for token, count in collapse_runs(trace.input_ids or ()))
    return "".join(text if is_special_token(text) else text * count for text, count in runs)


def filter_visible(pieces: Iterable[str], *, media: bool = False) -> list[str]:
    """Return the pieces that are not white space; media placeholders only if ``media`` is true."""
    return [piece for piece in pieces if piece.strip() and (media or not is_media_placeholder(piece))]


def find_words_moved_past_media(rule_input: RuleInput) -> list[str]:
    """Return words that precede a medium in the reference and follow it on the tested side."""
    reference, tested = (_words_before_media(text) for text in get_rendered_texts(rule_input))
    words = filter_visible(split_pieces(get_rendered_texts(rule_input)[1]))
    for expected, actual in zip(reference, tested, strict=False):
        passed = expected[len(actual) :]
        if passed and actual + passed == expected and words[len(actual) : len(expected)] == passed:
            return passed
    return []


def _words_before_media(text: str) -> list[list[str]]:
    """Return the words before each media token."""
    pieces = split_pieces(text)
    return [
        filter_visible(pieces[:index]) for index, piece in enumerate(pieces) if is_media_placeholder(piece)
    ]


def align_rendered_texts(rule_input: RuleInput) -> tuple[TextHunk, ...]:
    """Return the places at which the two texts differ."""
    return _align_texts(*get_rendered_texts(rule_input))


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
