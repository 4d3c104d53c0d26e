"""Byte-level BPE tokenizers of any size, with special tokens at the ids of the released models.

The words are Qwen's, real text of many languages: the first so many ranks fill the ids that no special
token takes, so that every id has a text and the merges are whole (a rank's parts come before it).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from vlm_parity.models.synthetic.qwen_tokenizer_files import WORDS, find_ranks_file

UNUSED = "<unused{}>"
"""The text of an id that is neither a word nor a special token."""


def build_byte_level_tokenizer(
    special: Mapping[str, int], size: int, words: int | None = None, *, bos: str | None = None, **named: Any
) -> Any:
    """A ``PreTrainedTokenizerFast`` whose ids run from 0 to ``size - 1``, each with a text.

    Args:
        special: the special tokens with their ids, some of which may lie beyond ``size``.
        size: how many ids.
        words: how many of Qwen's ranks at most; by default as many as there is room for.
        bos: the token that the tokenizer puts before every text by itself, if it does.
        named: ``eos_token``, ``pad_token``, ``unk_token``, ``bos_token``, ``extra_special_tokens`` and
            so on, for ``PreTrainedTokenizerFast``.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ranks, merges = build_qwen_bpe()
    taken = set(special.values())
    free = [place for place in range(size) if place not in taken]
    kept = ranks[: min(len(free), words if words is not None else len(free))]
    vocabulary = dict(zip(kept, free, strict=False)) | dict(special)
    vocabulary |= {UNUSED.format(place): place for place in free[len(kept) :]}
    known = set(kept)
    # A rank that is kept may also be written as a pair of which one is not.
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
    found = {token: tokenizer.token_to_id(token) for token in special}
    if found != dict(special):
        raise ValueError(f"special tokens at other ids than asked for: {found}")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)


@cache
def build_qwen_bpe() -> tuple[list[str], list[tuple[str, str]]]:
    """Qwen's ranks in order, and its merges in order, in the letters of byte-level BPE."""
    import json

    from transformers.convert_slow_tokenizer import TikTokenConverter

    with resources.as_file(find_ranks_file()) as ranks:
        converted = TikTokenConverter(str(ranks), WORDS).converted()
    model = json.loads(converted.to_str())["model"]
    order = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return order, [tuple(pair) for pair in model["merges"]]
