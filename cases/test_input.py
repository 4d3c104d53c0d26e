"""Inputs of the model: the frontend of each engine against transformers, without weights."""

import pytest

from vlm_parity.pytest_plugin.comparison import Comparison

pytestmark = pytest.mark.parity_tokens


def test_prompt(parity_comparison: Comparison) -> None:
    """Compare the rendered prompts, before placeholders are expanded."""
    parity_comparison.check("prompt")


def test_input_ids(parity_comparison: Comparison) -> None:
    """Compare the input ids, placeholders expanded."""
    parity_comparison.check("input_ids")


def test_spans(parity_comparison: Comparison) -> None:
    """Compare the positions that media features replace."""
    parity_comparison.check("spans")


def test_encoder_budget(parity_comparison: Comparison) -> None:
    """Compare the positions that an engine reserves for its largest medium with the actual number."""
    parity_comparison.check("encoder_budget")


def test_media(parity_comparison: Comparison) -> None:
    """Compare the inputs of the vision and audio towers: pixel values, grids, seconds between frames."""
    parity_comparison.check("media")


def test_positions(parity_comparison: Comparison) -> None:
    """Compare the positions of the rotary embedding, inside and outside the spans."""
    parity_comparison.check("positions")
