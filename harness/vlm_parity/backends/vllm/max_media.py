"""vLLM's encoder budget, read from its own profiling.

``MultiModalBudget`` (``vllm/multimodal/encoder_budget.py``) decides the maximum number of positions of a
medium of each modality: that of the model's ``get_mm_max_tokens_per_item``, or else the number that the
processor returns for the dummy media. The encoder cache has that size, and the engine refuses longer media
(``vllm/v1/engine/input_processor.py``). The largest media are the dummies, one of each modality in one
request, as in the budget: for some models a video is shorter next to an image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vlm_parity.schema.case import Modality
from vlm_parity.schema.media_source import AudioRecipe, ImageRecipe, VideoRecipe
from vlm_parity.schema.trace import EncoderBudget
from vlm_parity.util.errors import PrivateApiChangedError, UnsupportedError

MAX_SEQUENCE_LENGTH = 32768
"""Maximum sequence length in positions: a dummy video of 128000 takes minutes and 10 GB."""
_HARNESS_ARGUMENTS = (
    "max_model_len",
    "max_num_batched_tokens",
    "limit_mm_per_prompt",
    "skip_mm_profiling",
    "enable_chunked_prefill",
    "enable_prefix_caching",
    "block_size",
)
"""Arguments that the harness sets for its own purposes; the budget is that of vLLM's defaults."""
_FPS = 2.0
"""Frame rate of a dummy video without one, in frames per second."""


class EncoderBudgets:
    """vLLM's encoder budgets for a model, under its default arguments and those of the user."""

    def __init__(self, arguments: Mapping[str, Any], user_arguments: Mapping[str, Any]) -> None:
        """Build vLLM's configuration and its budget; takes seconds.

        Args:
            arguments: all arguments of the engine under test.
            user_arguments: those that the user set.

        Raises:
            PrivateApiChangedError: vLLM has moved a name.
        """
        kept = {name: value for name, value in arguments.items() if name not in _HARNESS_ARGUMENTS}
        kept |= user_arguments
        config = _build_config(kept)
        own = config.model_config.max_model_len
        self._condition = f"at a max_model_len of {own}"
        if own > MAX_SEQUENCE_LENGTH:
            config = _build_config({**kept, "max_model_len": MAX_SEQUENCE_LENGTH})
            self._condition = f"at a max_model_len of {MAX_SEQUENCE_LENGTH}, in place of the model's {own}"
        budget = _read_budget(config)
        self._tokens: Mapping[str, int] = _get_attribute(budget, "mm_max_toks_per_item")
        self._processor = _get_attribute(budget, "processor")
        dummies = _get_attribute(self._processor, "get_dummy_inputs")(
            seq_len=config.model_config.max_model_len,
            mm_counts={
                modality: 1 for modality, limit in _get_attribute(budget, "mm_limits").items() if limit
            },
            mm_options=config.model_config.get_multimodal_config().limit_per_prompt,
        )
        self._media = _get_attribute(dummies, "mm_data_items")

    def measure(self, modality: Modality) -> EncoderBudget:
        """Return the budget of one medium of a modality, and a medium of that size.

        Raises:
            UnsupportedError: vLLM has no budget for the modality.
            PrivateApiChangedError: vLLM has moved a name.
        """
        if modality not in self._tokens:
            names = ", ".join(sorted(self._tokens)) or "none"  # vLLM lists them in the order of a set
            raise UnsupportedError(f"vLLM has no encoder budget for {modality}; those of this model: {names}")
        medium = build_recipe(modality, self._media[modality].get(0), self._processor)
        return EncoderBudget(
            modality=modality, tokens=self._tokens[modality], medium=medium, condition=self._condition
        )


def build_recipe(modality: Modality, item: Any, processor: Any) -> ImageRecipe | VideoRecipe | AudioRecipe:
    """Return the recipe for a medium of the size of a dummy.

    Args:
        modality: of the dummy.
        item: the dummy itself.
        processor: of vLLM; it holds the sampling rate of dummy audio.

    Raises:
        PrivateApiChangedError: vLLM has moved a name.
    """
    return _RECIPES[modality](item, lambda: _get_sampling_rate(processor))


def _get_sampling_rate(processor: Any) -> int:
    """Return the sampling rate of dummy audio, in Hz."""
    extractor = _get_attribute(_get_attribute(processor, "info").get_hf_processor(), "feature_extractor")
    return int(_get_attribute(extractor, "sampling_rate"))


def _build_config(arguments: dict[str, Any]) -> Any:
    from vllm.engine.arg_utils import EngineArgs

    return EngineArgs(**arguments).create_engine_config()


def _read_budget(config: Any) -> Any:
    try:
        from vllm.multimodal import MULTIMODAL_REGISTRY
        from vllm.multimodal.encoder_budget import MultiModalBudget
    except ImportError as error:
        raise PrivateApiChangedError(f"vLLM has moved a name: {error}") from error
    return MultiModalBudget(config, MULTIMODAL_REGISTRY, enable_cache=False)


def _get_attribute(owner: Any, name: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError as error:
        raise PrivateApiChangedError(f"vLLM's {type(owner).__name__}.{name} is gone") from error


def _build_image_recipe(item: Any, _: Callable[[], int]) -> ImageRecipe:
    return ImageRecipe(pattern="plain", size=_get_attribute(item, "size"))


def _build_video_recipe(item: Any, _: Callable[[], int]) -> VideoRecipe:
    frames, metadata = item if isinstance(item, tuple) else (item, {})
    count, height, width, _channels = frames.shape
    rate = metadata.get("fps") or _FPS
    return VideoRecipe(pattern="plain", size=(width, height), frames=count, fps=rate)


def _build_audio_recipe(item: Any, get_rate: Callable[[], int]) -> AudioRecipe:
    samples = item[0] if isinstance(item, tuple) else item
    rate = get_rate()
    return AudioRecipe(waveform="sweep", seconds=len(samples) / rate, rate=rate)


_RECIPES: Mapping[str, Callable[[Any, Callable[[], int]], ImageRecipe | VideoRecipe | AudioRecipe]] = {
    "image": _build_image_recipe,
    "video": _build_video_recipe,
    "audio": _build_audio_recipe,
}
