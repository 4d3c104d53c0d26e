"""What is raised where a user's model leads to no checkpoint."""

from __future__ import annotations


class UnknownModel(Exception):
    """No checkpoint could be found; the message says what was tried, and what to do."""
