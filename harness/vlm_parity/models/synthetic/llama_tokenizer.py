"""Tokenizers with the layout of Llama's and Vicuna's vocabulary, for families that extend it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlm_parity.models.synthetic.sentencepiece_bpe import BYTES, build_byte_fallback_bpe

# tokenizer.json of the released Llama 2: three special tokens, the bytes, then words.
LLAMA_IDS = {"<unk>": 0, "<s>": 1, "</s>": 2}
_BYTE_IDS = {text: 3 + byte for byte, text in enumerate(BYTES)}


def build_llama_tokenizer(added: Mapping[str, int], size: int, **named: Any) -> Any:
    """Build transformers' ``LlamaTokenizer``, which puts ``<s>`` before every text.

    Args:
        added: the special tokens that the family adds, with their ids.
        size: the number of ids.
        named: keyword arguments of the class: ``pad_token``, ``extra_special_tokens`` and so on.
    """
    from transformers import LlamaTokenizer

    vocabulary, merges = build_byte_fallback_bpe({**LLAMA_IDS, **_BYTE_IDS, **added}, size)
    return LlamaTokenizer(vocab=vocabulary, merges=merges, add_bos_token=True, **named)
