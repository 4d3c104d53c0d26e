"""Byte-level BPE tokenizers of any size, with special tokens at the ids of the released models.

The words are Qwen's, text of many languages: the first ranks fill the ids that special tokens leave free, so
that every id has a text and the merges are complete (the parts of a rank precede it).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from vlm_parity.models.synthetic.qwen_tokenizer_files import WORDS, find_ranks_file

UNUSED = "<unused{}>"
"""Text of an id that is neither a word nor a special token."""


def build_byte_level_tokenizer(
    special: Mapping[str, int], size: int, words: int | None = None, *, bos: str | None = None, **named: Any
) -> Any:
    """Build a ``PreTrainedTokenizerFast`` with a text for each id from 0 to ``size - 1``.

    Args:
        special: the special tokens with their ids, some of which may be ``size`` or more.
        size: the number of ids.
        words: the maximum number of Qwen's ranks; by default as many as fit.
        bos: the token that the tokenizer itself puts before every text, if any.
        named: keyword arguments of ``PreTrainedTokenizerFast``: ``eos_token``, ``pad_token``, ``unk_token``,
            ``bos_token``, ``extra_special_tokens`` and so on.

    Raises:
        ValueError: special tokens would have other ids than requested.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ranks, merges = build_qwen_bpe()
    reserved = set(special.values())
    free = [index for index in range(size) if index not in reserved]
    kept = ranks[: min(len(free), words if words is not None else len(free))]
    vocabulary = dict(zip(kept, free, strict=False)) | dict(special)
    vocabulary |= {UNUSED.format(index): index for index in free[len(kept) :]}
    known = set(kept)
    # A kept rank may also be a merge of a pair with one rank that is not kept.
    kept_merges = [pair for pair in merges if known.issuperset((*pair, pair[0] + pair[1]))]
    tokenizer = Tokenizer(models.BPE(vocabulary, kept_merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    order = sorted(special, key=lambda token: special[token])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in order])
    if bos is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, special[bos])]
        )
        named = {"bos_token": bos, **named}
    ids = {token: tokenizer.token_to_id(token) for token in special}
    if ids != dict(special):
        raise ValueError(f"special tokens at other ids than requested: {ids}")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)


@cache
def build_qwen_bpe() -> tuple[list[str], list[tuple[str, str]]]:
    """Build Qwen's ranks and merges, both in order, in the letters of byte-level BPE."""
    import json

    from transformers.convert_slow_tokenizer import TikTokenConverter

    with resources.as_file(find_ranks_file()) as ranks:
        converted = TikTokenConverter(str(ranks), WORDS).converted()
    model = json.loads(converted.to_str())["model"]
    order = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return order, [tuple(pair) for pair in model["merges"]]
