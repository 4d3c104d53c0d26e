"""Texts of single tokens, for reports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def decode_token_texts(tokenizer: Any, ids: Iterable[int]) -> dict[int, str]:
    """Return the text of each id by a Hugging Face tokenizer.

    An id that is a fragment of a character has no text of its own and gets the entry of the vocabulary. Ids
    that the tokenizer does not know are left out.
    """
    texts = {}
    for token in set(ids):
        entry = tokenizer.convert_ids_to_tokens(token)
        if entry is not None:
            text = tokenizer.decode([token], skip_special_tokens=False)
            texts[token] = entry if "\N{REPLACEMENT CHARACTER}" in text else text
    return texts
