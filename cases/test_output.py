"""Does the model answer the same? The real engines, all of the vocabulary."""

import pytest

from vlm_parity.pytest_plugin.comparison import Comparison

pytestmark = pytest.mark.logits


def test_vision(comparison: Comparison) -> None:
    """The media's features, as they are merged into the sequence."""
    comparison.check("vision")


def test_prefill(comparison: Comparison) -> None:
    """The logits at every prompt position."""
    comparison.check("prefill")


def test_decode(comparison: Comparison) -> None:
    """The logits along the reference's continuation, through the KV cache."""
    comparison.check("decode")


def test_greedy(comparison: Comparison) -> None:
    """The free-running tokens at temperature 0."""
    comparison.check("greedy")
