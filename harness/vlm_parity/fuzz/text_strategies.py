"""Hypothesis strategies for texts, including unusual ones."""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st

ODD_TEXTS = (
    " ",
    "\n",
    "\r\n",
    "\t ",
    "\u00a0",
    "\x00",
    "\x1b[31m",
    "\u200b",
    "\ufeff",
    "e\u0301",
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "\u202eabc\u202c",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\U0001f1e9\U0001f1ea",
    "\u6f22\u5b57",
    "\U00020000",
    "\ufb01",
    "0123456789",
    "1 000,5",
    "''\"\\",
)
"""White space, control characters, combining marks, right-to-left scripts and composed emoji."""
MAX_TEXT_LENGTH = 3000
"""Characters."""
_ONE_IN = 40
"""One in this many texts is long."""


@cache  # building a strategy takes longer than drawing from it
def draw_texts(special: tuple[str, ...]) -> st.SearchStrategy[str]:
    """Return a strategy for texts of any script, without lone surrogates, which files cannot hold.

    Args:
        special: texts like special tokens, which are inserted whole.
    """
    pieces = st.one_of(
        st.text("abcdefghijklmnop ABC.?", min_size=1, max_size=12),
        st.sampled_from(ODD_TEXTS),
        st.sampled_from(special),
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
    )
    return st.builds(
        _join_pieces, st.lists(pieces, max_size=4), st.integers(0, _ONE_IN - 1), st.integers(2, 400)
    )


def _join_pieces(pieces: list[str], draw: int, times: int) -> str:
    text = "".join(pieces)
    return (text * times)[:MAX_TEXT_LENGTH] if draw == _ONE_IN - 1 else text
