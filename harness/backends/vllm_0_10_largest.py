"""What vLLM 0.8.5 to 0.10 reserves for its largest media, and the media that stand for them.

The size that is counted on is what the model's ``ProcessingInfo`` says of itself
(``get_max_image_tokens``, ``get_max_video_tokens``); where it says nothing, what the processor makes of the
dummy. The media are those of the profiler, one of each modality, as the encoder's budget has them
(``get_max_tokens_per_item_by_modality``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harness.backends.base import MissingInternal, Unsupported
from harness.backends.vllm_largest import LONGEST, recipe_of
from harness.case import Modality
from harness.trace import Reserved

_SAYS: Mapping[str, Callable[[Any, int, Mapping[str, int]], int]] = {
    "get_max_image_tokens": lambda ask, _, __: int(ask()),
    "get_max_video_tokens": lambda ask, length, counts: int(ask(length, counts)),
}


class LargestMedia:
    """The budget for a model, by vLLM's defaults."""

    def __init__(self, model_config: Callable[[Mapping[str, Any]], Any]) -> None:
        """Makes the dummies and has them processed; takes up to a minute.

        Args:
            model_config: makes vLLM's ``ModelConfig``, given what the engine is told.

        Raises:
            MissingInternal: vLLM has moved what is needed.
        """
        try:
            from vllm.multimodal import MULTIMODAL_REGISTRY
            from vllm.multimodal.profiling import MultiModalProfiler
        except ImportError as problem:
            raise MissingInternal(f"vLLM has moved a name: {problem}") from problem
        config = model_config({})
        if config.max_model_len > LONGEST:
            config = model_config({"max_model_len": LONGEST})
        self._length = config.max_model_len
        self._processor = MULTIMODAL_REGISTRY.create_processor(config)
        profiler = MultiModalProfiler(self._processor)
        for name in ("get_mm_limits", "_get_dummy_mm_inputs", "_get_mm_num_tokens", "dummy_inputs"):
            if not hasattr(profiler, name):
                raise MissingInternal(f"vLLM's MultiModalProfiler.{name} is gone")
        self._counts = {modality: min(1, limit) for modality, limit in profiler.get_mm_limits().items()}
        self._made = profiler._get_mm_num_tokens(profiler._get_dummy_mm_inputs(self._length, self._counts))
        self._dummies = profiler.dummy_inputs.get_dummy_processor_inputs(self._length, self._counts).mm_data

    def of(self, modality: Modality) -> Reserved:
        """What is counted on for one medium of a modality, and the dummy that stands for it.

        Raises:
            Unsupported: there is none of this modality.
        """
        if not self._dummies.get(modality):
            raise Unsupported(
                f"vLLM reserves for {', '.join(self._dummies)} of this model: for no {modality}"
            )
        return Reserved(
            modality=modality,
            tokens=self._counted(modality),
            medium=recipe_of(modality, self._dummies[modality][0], self._processor),
            under=f"at a max_model_len of {self._length}",
        )

    def _counted(self, modality: Modality) -> int:
        name = f"get_max_{modality}_tokens"
        ask = getattr(self._processor.info, name, None)
        if ask is None or name not in _SAYS:
            return int(self._made[modality])
        return _SAYS[name](ask, self._length, self._counts)
