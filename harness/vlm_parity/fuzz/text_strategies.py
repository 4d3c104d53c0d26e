"""Texts, from the empty one to the odd: Hypothesis strategies."""

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
"""White space, control characters, marks that combine, scripts from the right, emoji of several pieces."""
MAX_TEXT_LENGTH = 3000
"""Characters."""
_ONE_IN = 40
"""How often a text is long."""


@cache  # a strategy takes longer to be made than to be drawn from
def draw_texts(special: tuple[str, ...]) -> st.SearchStrategy[str]:
    """Texts of any script; lone surrogates, which no file holds, are left out.

    Args:
        special: what is special to the model, or looks like it; put in now and then, whole.
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
