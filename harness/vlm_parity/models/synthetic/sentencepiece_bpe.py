"""Vocabularies in the manner of SentencePiece: BPE over characters, U+2581 for a space, bytes as a fallback.

The words are those of Qwen's that consist of whole characters. The tokenizers are transformers' own classes
(``LlamaTokenizer``, ``GemmaTokenizer``).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from vlm_parity.models.synthetic.byte_level_bpe import UNUSED, build_qwen_bpe

SPACE = "\u2581"
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
"""Tokens of the UTF-8 bytes of characters outside the vocabulary."""


def build_byte_fallback_bpe(
    fixed: Mapping[str, int], size: int
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Build the vocabulary and the merges of a BPE with a text for each id from 0 to ``size - 1``.

    Args:
        fixed: tokens with given ids: special tokens, ``BYTES`` and others; ids of ``size`` or more are
            allowed.
        size: the number of ids.
    """
    reserved = set(fixed.values())
    free = [index for index in range(size) if index not in reserved]
    words, merges = _build_words()
    kept = [word for word in words if word not in fixed][: len(free)]
    vocabulary = dict(zip(kept, free, strict=False)) | dict(fixed)
    vocabulary |= {UNUSED.format(index): index for index in free[len(kept) :]}
    known = set(kept)
    return vocabulary, [pair for pair in merges if {*pair, "".join(pair)} <= known]


@cache
def _build_words() -> tuple[list[str], list[tuple[str, str]]]:
    """Build the words that merges of whole characters produce, after single characters, and these merges.

    Both are in order. Line feeds are left out: released vocabularies have tokens for runs of them.
    """
    ranks, byte_merges = build_qwen_bpe()
    texts = {rank: text for rank in ranks if (text := _decode_rank(rank)) is not None}
    characters = [text for text in texts.values() if len(text) == 1]
    reached, merges = dict.fromkeys(characters), []
    for left, right in byte_merges:
        pair = (texts.get(left), texts.get(right))
        if pair[0] in reached and pair[1] in reached:
            merges.append((str(pair[0]), str(pair[1])))
            reached[texts[left + right]] = None
    return list(reached), merges


def _decode_rank(rank: str) -> str | None:
    """Decode the text of a rank; None if it is not whole characters, or contains a line feed."""
    letters = _map_letters()
    try:
        text = bytes(letters[letter] for letter in rank).decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\n" in text else text.replace(" ", SPACE)


@cache
def _map_letters() -> dict[str, int]:
    """Map each letter of byte-level BPE to its byte."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return {letter: byte for byte, letter in bytes_to_unicode().items()}
