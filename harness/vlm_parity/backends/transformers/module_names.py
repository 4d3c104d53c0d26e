"""Similarity of module names: implementations fuse projections and nest layers differently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache

from vlm_parity.backends.transformers.module_calls import ATTENTION_SUFFIX

MIN_SIMILARITY = 0.6
"""The least similarity of two names of one module."""
_FUSED = {
    "q_proj": "qkv_proj",
    "k_proj": "qkv_proj",
    "v_proj": "qkv_proj",
    "gate_proj": "gate_up_proj",
    "up_proj": "gate_up_proj",
}
_NESTING = {"model", "language_model", "vision_model", "encoder"}
"""Parts of a name that implementations nest differently."""


@cache
def compute_similarity(name: str, other: str) -> float:
    """Return how much of two module names is common, from 0 to 1; 0 if their numbers differ."""
    if _get_numbers(name) != _get_numbers(other):
        return 0.0
    left, right = _count_words(name), _count_words(other)
    union = sum((left | right).values())
    return sum((left & right).values()) / union if union else 1.0


def _split(name: str) -> list[str]:
    return name.replace(ATTENTION_SUFFIX, ".attn").split(".")


def _get_numbers(name: str) -> list[str]:
    return [word for word in _split(name) if word.isdigit()]


def _count_words(name: str) -> Counter[str]:
    return Counter(_list_words(_split(name)))


def _list_words(words: Iterable[str]) -> Iterator[str]:
    for word in words:
        if word and word not in _NESTING:
            yield _FUSED.get(word, word)
