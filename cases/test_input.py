"""Is the model fed the same? The engines' front ends: no weights needed."""

import pytest

from vlm_parity.pytest_plugin.comparison import Comparison

pytestmark = pytest.mark.tokens


def test_prompt(comparison: Comparison) -> None:
    """The rendered text, before placeholders are expanded."""
    comparison.check("prompt")


def test_input_ids(comparison: Comparison) -> None:
    """The ids that the model is fed, placeholders expanded."""
    comparison.check("input_ids")


def test_spans(comparison: Comparison) -> None:
    """The positions that the media's features go to."""
    comparison.check("spans")


def test_reserved(comparison: Comparison) -> None:
    """The positions that an engine reserves for its largest medium, and those that are made of it."""
    comparison.check("reserved")


def test_media(comparison: Comparison) -> None:
    """What enters the vision tower: pixel values, grids, the seconds between frames."""
    comparison.check("media")


def test_positions(comparison: Comparison) -> None:
    """What the rotary embedding is given, inside the spans and outside."""
    comparison.check("positions")
