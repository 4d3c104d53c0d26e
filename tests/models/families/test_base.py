"""Positions from the rope index of a transformers model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vlm_parity.models.families.base import compute_rope_positions

AXES = np.arange(9).reshape(3, 1, 3)


class _Tensor(SimpleNamespace):
    """A stand-in for a tensor that a model returns, sliced in the same way."""

    def __getitem__(self, place: Any) -> Any:
        return SimpleNamespace(cpu=lambda: SimpleNamespace(numpy=lambda: AXES[place]))


def _rope_index(input_ids: Any, attention_mask: Any = None) -> tuple[Any, None]:  # noqa: ARG001
    return _Tensor(), None


WHOLE = SimpleNamespace(base_model=SimpleNamespace(), get_rope_index=_rope_index)
"""Before transformers 4.52: the base model is the text model alone."""
INNER = SimpleNamespace(base_model=SimpleNamespace(get_rope_index=_rope_index))


@pytest.mark.parametrize("model", [WHOLE, INNER])
def test_rope_index_is_found_in_the_model_and_in_its_base_model(model: Any) -> None:
    positions = compute_rope_positions(model, {"input_ids": np.zeros((1, 3)), "pixel_values": None})
    np.testing.assert_array_equal(positions, AXES[:, 0])


def test_model_without_a_rope_index_has_text_positions() -> None:
    positions = compute_rope_positions(
        SimpleNamespace(base_model=SimpleNamespace()), {"input_ids": np.zeros((1, 3))}
    )
    np.testing.assert_array_equal(positions, [[0, 1, 2]])
