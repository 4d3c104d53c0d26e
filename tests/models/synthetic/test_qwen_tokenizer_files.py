"""Merges of the Qwen tokenizers: one for each token, and the same ids as with all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.models.synthetic.qwen_tokenizer_files import select_merges

Merges = list[tuple[str, str]]


def list_all_splits(ranks: dict[str, int]) -> Merges:
    """List every split of a token into two others, as transformers' converter does."""
    return [
        (token[:index], token[index:])
        for token in sorted(ranks, key=ranks.__getitem__)
        for index in range(1, len(token))
        if token[:index] in ranks and token[index:] in ranks
    ]


def merge(text: str, merges: Iterable[tuple[str, str]]) -> Sequence[str]:
    """Apply the first merge that is possible, at its first place, until there is none."""
    order = {pair: rank for rank, pair in enumerate(merges)}
    parts = list(text)
    while candidates := [(order[pair], i) for i, pair in enumerate(pairwise(parts)) if pair in order]:
        _, index = min(candidates)
        parts[index : index + 2] = ["".join(parts[index : index + 2])]
    return parts


def test_the_split_that_is_left_after_all_earlier_merges_is_kept() -> None:
    ranks = {"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4, "abc": 5}
    merges = list_all_splits(ranks)
    assert merges[2:] == [("a", "bc"), ("ab", "c")]
    assert list(select_merges(ranks, merges)) == [("a", "b"), ("b", "c"), ("ab", "c")]


def test_all_splits_of_a_token_that_no_merge_forms_are_kept() -> None:
    ranks = {"a": 0, "b": 1, "bb": 2, "abba": 3, "ab": 4, "ba": 5}
    merges = list_all_splits(ranks)
    assert ("ab", "ba") in merges
    assert list(select_merges(ranks, merges)) == merges


@given(
    st.lists(st.text("abc", min_size=2, max_size=5), unique=True, max_size=12), st.text("abc", max_size=20)
)
def test_ids_are_the_same_as_with_all_splits(tokens: list[str], text: str) -> None:
    ranks = {token: rank for rank, token in enumerate([*"abc", *tokens])}
    merges = list_all_splits(ranks)
    assert merge(text, select_merges(ranks, merges)) == merge(text, merges)
