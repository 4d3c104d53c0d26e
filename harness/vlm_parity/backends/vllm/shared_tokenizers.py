"""Loads of vLLM without copies of tokenizers, which take most of the time of a tiny checkpoint's load.

vLLM gives each of its threads a deep copy of the tokenizer (``vllm/tokenizers/hf.py``), and transformers
copies it with the arguments of every processor: eight copies per load in vLLM 0.32. Here, one thread uses
them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SHARED_TOKENIZERS = "tokenizers: shared instead of copied while a synthetic checkpoint loads"


@contextmanager
def share_tokenizers() -> Iterator[None]:
    """Let deep copies of a tokenizer return the tokenizer itself during the block."""
    from transformers import PreTrainedTokenizerBase

    def share(tokenizer: Any, _memo: Any) -> Any:
        return tokenizer

    PreTrainedTokenizerBase.__deepcopy__ = share
    try:
        yield
    finally:
        del PreTrainedTokenizerBase.__deepcopy__
