"""What vLLM 0.8.5 to 0.10 reserves for its largest media, asked as its own encoder budget asks.

``get_max_tokens_per_item_by_modality`` of its registry decides how many positions a medium of each modality
may hold, with one of each modality. In 0.8 that is what the processor makes of the profiler's dummies; from
0.9 on it is what the model says of itself (``get_max_tokens_per_item``), where it says anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vlm_parity.backends.vllm.max_media import MAX_AUDIO_SECONDS, build_recipe
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import EncoderBudget
from vlm_parity.util.errors import PrivateApiChangedError, UnsupportedError


class LegacyEncoderBudget:
    """The budget for a model, by vLLM's defaults."""

    def __init__(self, model_config: Callable[[Mapping[str, Any]], Any]) -> None:
        """Makes the dummies and has them processed; takes up to a minute.

        Args:
            model_config: makes vLLM's ``ModelConfig``, given what the engine is told.

        Raises:
            PrivateApiChangedError: vLLM has moved what is needed.
        """
        try:
            from vllm.multimodal import MULTIMODAL_REGISTRY
            from vllm.multimodal.profiling import MultiModalProfiler
        except ImportError as problem:
            raise PrivateApiChangedError(f"vLLM has moved a name: {problem}") from problem
        config = model_config({})
        if config.max_model_len > MAX_AUDIO_SECONDS:
            config = model_config({"max_model_len": MAX_AUDIO_SECONDS})
        self._length = config.max_model_len
        self._processor = MULTIMODAL_REGISTRY.create_processor(config)
        ask = _get_attribute(MULTIMODAL_REGISTRY, "get_max_tokens_per_item_by_modality")
        self._tokens: Mapping[str, int] = ask(config)
        dummies = _get_attribute(MultiModalProfiler(self._processor), "dummy_inputs")
        make = _get_attribute(dummies, "get_dummy_processor_inputs")
        self._dummies = make(self._length, dict.fromkeys(self._tokens, 1)).mm_data

    def of(self, modality: Modality) -> EncoderBudget:
        """What is reserved for one medium of a modality, and the dummy that stands for it.

        Raises:
            UnsupportedError: nothing is, of this modality.
        """
        if modality not in self._tokens:
            found = ", ".join(self._tokens) or "nothing"
            raise UnsupportedError(f"vLLM reserves for {found} of this model: for no {modality}")
        return EncoderBudget(
            modality=modality,
            tokens=self._tokens[modality],
            medium=build_recipe(modality, self._dummies[modality][0], self._processor),
            condition=f"at a max_model_len of {self._length}",
        )


def _get_attribute(owner: Any, name: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError as problem:
        raise PrivateApiChangedError(f"vLLM's {type(owner).__name__}.{name} is gone") from problem
