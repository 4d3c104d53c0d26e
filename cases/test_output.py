"""Outputs of the model: each engine against transformers, over the whole vocabulary."""

import pytest

from vlm_parity.pytest_plugin.comparison import Comparison

pytestmark = pytest.mark.parity_logits


def test_vision(parity_comparison: Comparison) -> None:
    """Compare the media's features, as merged into the sequence."""
    parity_comparison.check("vision")


def test_prefill(parity_comparison: Comparison) -> None:
    """Compare the logits at every prompt position."""
    parity_comparison.check("prefill")


def test_decode(parity_comparison: Comparison) -> None:
    """Compare the logits along the reference's continuation, computed through the KV cache."""
    parity_comparison.check("decode")


def test_greedy(parity_comparison: Comparison) -> None:
    """Compare the free-running tokens at temperature 0."""
    parity_comparison.check("greedy")
