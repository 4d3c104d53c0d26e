"""What the commands that ask releases have in common: exit codes, and wrong use."""

from __future__ import annotations

DONE, OTHERWISE, USAGE, NOT_ASKED = range(4)


class WrongUse(Exception):
    """The options do not fit; the message says what would."""
