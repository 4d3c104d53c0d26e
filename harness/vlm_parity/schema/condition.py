"""Conditions: the values of the reference on which an engine runs in place of its own."""

from __future__ import annotations

from enum import StrEnum


class Condition(StrEnum):
    """Values that an engine is given, in the order in which data flows."""

    MEDIA = "media"
    """Ids, spans and tower inputs; the engine computes positions and features itself."""
    FEATURES = "features"
    """Ids, spans, positions and media features; the engine runs its language model on them."""

    @property
    def description(self) -> str:
        """Description of the given values for reports."""
        return _DESCRIPTIONS[self]


_DESCRIPTIONS = {
    Condition.MEDIA: "the reference's ids and media",
    Condition.FEATURES: "the reference's ids, positions and features",
}
