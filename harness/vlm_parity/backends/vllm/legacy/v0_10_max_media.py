"""Encoder budget of vLLM 0.8.5 to 0.10, read from its own registry.

``get_max_tokens_per_item_by_modality`` returns the maximum number of positions of a medium of each modality,
in a request with one of each. In 0.8 that is the number for the profiler's dummies; since 0.9 it is the
model's own (``get_max_tokens_per_item``), if it has one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vlm_parity.backends.vllm.max_media import MAX_SEQUENCE_LENGTH, build_recipe
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import EncoderBudget
from vlm_parity.util.errors import PrivateApiChangedError, UnsupportedError


class LegacyEncoderBudgets:
    """vLLM's encoder budgets for a model, under its default arguments."""

    def __init__(self, build_model_config: Callable[[Mapping[str, Any]], Any]) -> None:
        """Build the dummy media and process them; takes up to a minute.

        Args:
            build_model_config: builds vLLM's ``ModelConfig`` from engine arguments.

        Raises:
            PrivateApiChangedError: vLLM has moved a name.
        """
        try:
            from vllm.multimodal import MULTIMODAL_REGISTRY
            from vllm.multimodal.profiling import MultiModalProfiler
        except ImportError as error:
            raise PrivateApiChangedError(f"vLLM has moved a name: {error}") from error
        config = build_model_config({})
        if config.max_model_len > MAX_SEQUENCE_LENGTH:
            config = build_model_config({"max_model_len": MAX_SEQUENCE_LENGTH})
        self._length = config.max_model_len
        self._processor = MULTIMODAL_REGISTRY.create_processor(config)
        get_max_tokens = _get_attribute(MULTIMODAL_REGISTRY, "get_max_tokens_per_item_by_modality")
        self._tokens: Mapping[str, int] = get_max_tokens(config)
        dummies = _get_attribute(MultiModalProfiler(self._processor), "dummy_inputs")
        build_inputs = _get_attribute(dummies, "get_dummy_processor_inputs")
        self._dummies = build_inputs(self._length, dict.fromkeys(self._tokens, 1)).mm_data

    def measure(self, modality: Modality) -> EncoderBudget:
        """Return the budget of one medium of a modality, and a medium of that size.

        Raises:
            UnsupportedError: vLLM has no budget for the modality.
        """
        if modality not in self._tokens:
            names = ", ".join(self._tokens) or "none"
            raise UnsupportedError(f"vLLM has no encoder budget for {modality}; those of this model: {names}")
        return EncoderBudget(
            modality=modality,
            tokens=self._tokens[modality],
            medium=build_recipe(modality, self._dummies[modality][0], self._processor),
            condition=f"at a max_model_len of {self._length}",
        )


def _get_attribute(owner: Any, name: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError as error:
        raise PrivateApiChangedError(f"vLLM's {type(owner).__name__}.{name} is gone") from error
