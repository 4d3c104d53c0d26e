"""Special tokens in a text, recognized by their form: ``<|im_start|>``, ``<image>``, ``[INST]``.

Neither diffs nor rules depend on the engine or the model.
"""

from __future__ import annotations

import re

SPECIAL_TOKEN = r"<\|?[^\s<>|]{1,40}\|?>|\[/?[A-Z_]{2,24}\]"  # noqa: S105 (no password)
"""A regular expression for a special token."""
_IS_SPECIAL = re.compile(SPECIAL_TOKEN)
_MEDIUM = re.compile(r"image|img|picture|video|vision|audio", re.IGNORECASE)  # prose: ok


def is_special_token(piece: str) -> bool:
    """Return whether a text has the form of a special token."""
    return _IS_SPECIAL.fullmatch(piece) is not None


def is_media_placeholder(piece: str) -> bool:
    """Return whether a text looks like a special token that represents or delimits a medium."""
    return is_special_token(piece) and _MEDIUM.search(piece) is not None


def strip_media_placeholders(text: str) -> str:
    """Remove the special tokens that represent or delimit media."""
    return _IS_SPECIAL.sub(lambda match: "" if is_media_placeholder(match[0]) else match[0], text)
