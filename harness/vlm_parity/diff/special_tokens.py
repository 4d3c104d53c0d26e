"""Special tokens in a text, told by their looks: neither diffs nor rules know the engine or the model.

``<|im_start|>``, ``<image>``, ``[INST]``.
"""

from __future__ import annotations

import re

SPECIAL_TOKEN = r"<\|?[^\s<>|]{1,40}\|?>|\[/?[A-Z_]{2,24}\]"
"""A regular expression."""
_IS_SPECIAL = re.compile(SPECIAL_TOKEN)
_MEDIUM = re.compile(r"image|img|picture|video|vision|audio", re.IGNORECASE)


def is_special_token(piece: str) -> bool:
    """Whether it looks like a special token."""
    return _IS_SPECIAL.fullmatch(piece) is not None


def is_media_placeholder(piece: str) -> bool:
    """Whether it looks like a special token that stands for a medium or marks its borders."""
    return is_special_token(piece) and _MEDIUM.search(piece) is not None


def strip_media_placeholders(text: str) -> str:
    """The text without what looks like a medium or its borders."""
    return _IS_SPECIAL.sub(lambda found: "" if is_media_placeholder(found[0]) else found[0], text)
