"""Vocabularies as SentencePiece makes them: BPE over characters, U+2581 for a space, bytes for the rest.

The words are Qwen's that are whole characters; transformers' own tokenizer classes (``LlamaTokenizer``,
``GemmaTokenizer``) do the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from vlm_parity.models.synthetic.byte_level_bpe import UNUSED, build_qwen_bpe

SPACE = "\u2581"
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
"""What a character that is no word is spelled with, in UTF-8."""


def build_byte_fallback_bpe(
    fixed: Mapping[str, int], size: int
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The vocabulary and the merges of a BPE whose ids run from 0 to ``size - 1``, each with a text.

    Args:
        fixed: special tokens, ``BYTES`` and whatever else has an id of its own; ids beyond ``size`` are
            allowed.
        size: how many ids.
    """
    taken = set(fixed.values())
    free = [place for place in range(size) if place not in taken]
    words, merges = _words()
    kept = [word for word in words if word not in fixed][: len(free)]
    vocabulary = dict(zip(kept, free, strict=False)) | dict(fixed)
    vocabulary |= {UNUSED.format(place): place for place in free[len(kept) :]}
    known = set(kept)
    return vocabulary, [pair for pair in merges if {*pair, "".join(pair)} <= known]


@cache
def _words() -> tuple[list[str], list[tuple[str, str]]]:
    """Single characters and the words that merges of whole characters reach, and these merges, in order.

    Line feeds are left out: released vocabularies hold runs of them as tokens of their own.
    """
    ranks, byte_merges = build_qwen_bpe()
    texts = {rank: text for rank in ranks if (text := _text(rank)) is not None}
    characters = [text for text in texts.values() if len(text) == 1]
    reached, merges = dict.fromkeys(characters), []
    for left, right in byte_merges:
        pair = (texts.get(left), texts.get(right))
        if pair[0] in reached and pair[1] in reached:
            merges.append((str(pair[0]), str(pair[1])))
            reached[texts[left + right]] = None
    return list(reached), merges


def _text(rank: str) -> str | None:
    """What a rank stands for; None if it is no whole characters, or has a line feed in it."""
    letters = _letters()
    try:
        text = bytes(letters[letter] for letter in rank).decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\n" in text else text.replace(" ", SPACE)


@cache
def _letters() -> dict[str, int]:
    """The byte that each letter of byte-level BPE stands for."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return {letter: byte for byte, letter in bytes_to_unicode().items()}
