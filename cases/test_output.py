"""Does the model answer the same? The real engines, all of the vocabulary."""

import pytest

from vlm_parity.pytest_plugin.comparison import Comparison

pytestmark = pytest.mark.parity_logits


def test_vision(parity_comparison: Comparison) -> None:
    """The media's features, as they are merged into the sequence."""
    parity_comparison.check("vision")


def test_prefill(parity_comparison: Comparison) -> None:
    """The logits at every prompt position."""
    parity_comparison.check("prefill")


def test_decode(parity_comparison: Comparison) -> None:
    """The logits along the reference's continuation, through the KV cache."""
    parity_comparison.check("decode")


def test_greedy(parity_comparison: Comparison) -> None:
    """The free-running tokens at temperature 0."""
    parity_comparison.check("greedy")
