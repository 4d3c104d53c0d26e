"""Messages on vLLM's encoder budgets, without an engine."""

from __future__ import annotations

from typing import Any

import pytest

from vlm_parity.backends.vllm.max_media import EncoderBudgets
from vlm_parity.util.errors import UnsupportedError


@pytest.mark.parametrize("modalities", [("image", "video"), ("video", "image")])
def test_the_modalities_of_a_model_are_listed_in_a_fixed_order(modalities: tuple[str, ...]) -> None:
    budgets: Any = EncoderBudgets.__new__(EncoderBudgets)
    budgets._tokens = dict.fromkeys(modalities, 1)
    with pytest.raises(UnsupportedError, match=r"those of this model: image, video$"):
        budgets.measure("audio")
