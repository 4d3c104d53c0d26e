"""The text of single tokens, for people to read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def decode_token_texts(tokenizer: Any, ids: Iterable[int]) -> dict[int, str]:
    """The text of each id by a Hugging Face tokenizer.

    A piece of a character has no text of its own: there the vocabulary's entry stands instead. An
    id that the tokenizer does not know is left out.
    """
    texts = {}
    for token in set(ids):
        entry = tokenizer.convert_ids_to_tokens(token)
        if entry is not None:
            text = tokenizer.decode([token], skip_special_tokens=False)
            texts[token] = entry if "\N{REPLACEMENT CHARACTER}" in text else text
    return texts
