"""Is the model fed the same? The engines' front ends: no weights needed."""

import pytest

from vlm_parity.pytest_plugin.comparison import Comparison

pytestmark = pytest.mark.parity_tokens


def test_prompt(parity_comparison: Comparison) -> None:
    """The rendered text, before placeholders are expanded."""
    parity_comparison.check("prompt")


def test_input_ids(parity_comparison: Comparison) -> None:
    """The ids that the model is fed, placeholders expanded."""
    parity_comparison.check("input_ids")


def test_spans(parity_comparison: Comparison) -> None:
    """The positions that the media's features go to."""
    parity_comparison.check("spans")


def test_reserved(parity_comparison: Comparison) -> None:
    """The positions that an engine reserves for its largest medium, and those that are made of it."""
    parity_comparison.check("encoder_budget")


def test_media(parity_comparison: Comparison) -> None:
    """What enters the vision tower: pixel values, grids, the seconds between frames."""
    parity_comparison.check("media")


def test_positions(parity_comparison: Comparison) -> None:
    """What the rotary embedding is given, inside the spans and outside."""
    parity_comparison.check("positions")
