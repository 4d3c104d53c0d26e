"""Tokenizers with the layout of Gemma's vocabulary: bytes, and runs of line feeds as tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlm_parity.models.synthetic.sentencepiece_bpe import BYTES, build_byte_fallback_bpe

# tokenizer.json of all released Gemmas.
GEMMA_IDS = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3, "<mask>": 4}
_LINE_FEEDS = 31
"""Length of the longest run of line feeds that is one token."""


def build_gemma_tokenizer(
    special: Mapping[str, int], size: int, first_line_feed: int, first_byte: int, **named: Any
) -> Any:
    """Build transformers' ``GemmaTokenizer``.

    Args:
        special: the special tokens besides ``GEMMA_IDS``, with their ids.
        size: the number of ids; special ones may be ``size`` or more.
        first_line_feed: the id of one line feed; longer runs follow.
        first_byte: the id of ``BYTES[0]``.
        named: keyword arguments of the class: ``extra_special_tokens`` and so on.
    """
    from tokenizers import AddedToken
    from transformers import GemmaTokenizer

    runs = {"\n" * count: first_line_feed + count - 1 for count in range(1, _LINE_FEEDS + 1)}
    byte_ids = {text: first_byte + byte for byte, text in enumerate(BYTES)}
    vocabulary, merges = build_byte_fallback_bpe({**GEMMA_IDS, **special, **runs, **byte_ids}, size)
    tokenizer = GemmaTokenizer(vocab=vocabulary, merges=merges, **named)
    # As released: matched in a text before anything else, but not special.
    tokenizer.add_tokens([AddedToken(run, normalized=False) for run in runs])
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=True) for token in special], True)
    return tokenizer
