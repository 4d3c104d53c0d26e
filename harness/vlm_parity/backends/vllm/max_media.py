"""What vLLM reserves for its largest media, asked as its own profiling asks.

``MultiModalBudget`` (``vllm/multimodal/encoder_budget.py``) decides how many positions a medium of each
modality may hold: what the model's ``get_mm_max_tokens_per_item`` says, or else what the processor makes of
the dummy media. The encoder cache is sized by that, and the engine refuses what is longer
(``vllm/v1/engine/input_processor.py``). The media themselves are the dummies that are to have that many: one
of each modality together, as the budget counts them, for some models make a video shorter beside a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vlm_parity.schema.case import Modality
from vlm_parity.schema.media_source import AudioRecipe, ImageRecipe, VideoRecipe
from vlm_parity.schema.trace import EncoderBudget
from vlm_parity.util.errors import PrivateApiChangedError, UnsupportedError

MAX_AUDIO_SECONDS = 32768
"""Positions of the longest sequence that is asked for: a video of 128000 takes minutes and 10 GB."""
_IMPORTED_NAMES = (
    "max_model_len",
    "max_num_batched_tokens",
    "limit_mm_per_prompt",
    "skip_mm_profiling",
    "enable_chunked_prefill",
    "enable_prefix_caching",
    "block_size",
)
"""What the harness tells the engine for its own sake, and a user would leave as it is."""
_FPS = 2.0
"""Frames a second of a dummy video that comes without a rate."""


class EncoderBudgets:
    """vLLM's budget for a model, by its defaults and what the user says over them."""

    def __init__(self, arguments: Mapping[str, Any], chosen: Mapping[str, Any]) -> None:
        """Makes vLLM's configuration and its budget; takes seconds.

        Args:
            arguments: what the engine under test is told.
            chosen: those of them that the user wants.

        Raises:
            PrivateApiChangedError: vLLM has moved what is needed.
        """
        kept = {name: value for name, value in arguments.items() if name not in _IMPORTED_NAMES} | dict(
            chosen
        )
        config = _build_config(kept)
        own = config.model_config.max_model_len
        self._under = f"at a max_model_len of {own}"
        if own > MAX_AUDIO_SECONDS:
            config = _build_config({**kept, "max_model_len": MAX_AUDIO_SECONDS})
            self._under = f"at a max_model_len of {MAX_AUDIO_SECONDS}, in place of the model's {own}"
        budget = _read_budget(config)
        self._tokens: Mapping[str, int] = _get_attribute(budget, "mm_max_toks_per_item")
        self._processor = _get_attribute(budget, "processor")
        dummies = _get_attribute(self._processor, "get_dummy_inputs")(
            seq_len=config.model_config.max_model_len,
            mm_counts={modality: 1 for modality, most in _get_attribute(budget, "mm_limits").items() if most},
            mm_options=config.model_config.get_multimodal_config().limit_per_prompt,
        )
        self._media = _get_attribute(dummies, "mm_data_items")

    def of(self, modality: Modality) -> EncoderBudget:
        """What is reserved for one medium of a modality, and the dummy that stands for it.

        Raises:
            UnsupportedError: nothing is, by this name.
            PrivateApiChangedError: vLLM has moved what is needed.
        """
        if modality not in self._tokens:
            found = ", ".join(self._tokens) or "nothing"
            raise UnsupportedError(
                f"vLLM reserves for {found} of this model, by these names: for no {modality}"
            )
        medium = build_recipe(modality, self._media[modality].get(0), self._processor)
        return EncoderBudget(
            modality=modality, tokens=self._tokens[modality], medium=medium, condition=self._under
        )


def build_recipe(modality: Modality, item: Any, processor: Any) -> ImageRecipe | VideoRecipe | AudioRecipe:
    """What makes a medium of the size of a dummy.

    Args:
        modality: of the dummy.
        item: the dummy itself.
        processor: vLLM's, which knows how many samples a second of a dummy sound has.

    Raises:
        PrivateApiChangedError: vLLM has moved what is needed.
    """
    return _RECIPES[modality](item, lambda: _get_sampling_rate(processor))


def _get_sampling_rate(processor: Any) -> int:
    """Samples a second of the dummy sound."""
    extractor = _get_attribute(_get_attribute(processor, "info").get_hf_processor(), "feature_extractor")
    return int(_get_attribute(extractor, "sampling_rate"))


def _build_config(arguments: dict[str, Any]) -> Any:
    from vllm.engine.arg_utils import EngineArgs

    return EngineArgs(**arguments).create_engine_config()


def _read_budget(config: Any) -> Any:
    try:
        from vllm.multimodal import MULTIMODAL_REGISTRY
        from vllm.multimodal.encoder_budget import MultiModalBudget
    except ImportError as problem:
        raise PrivateApiChangedError(f"vLLM has moved a name: {problem}") from problem
    return MultiModalBudget(config, MULTIMODAL_REGISTRY, enable_cache=False)


def _get_attribute(owner: Any, name: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError as problem:
        raise PrivateApiChangedError(f"vLLM's {type(owner).__name__}.{name} is gone") from problem


def _image_recipe(item: Any, _: Callable[[], int]) -> ImageRecipe:
    return ImageRecipe(pattern="plain", size=_get_attribute(item, "size"))


def _video_recipe(item: Any, _: Callable[[], int]) -> VideoRecipe:
    frames, facts = item if isinstance(item, tuple) else (item, {})
    count, height, width, _channels = frames.shape
    rate = facts.get("fps") or _FPS
    return VideoRecipe(pattern="plain", size=(width, height), frames=count, fps=rate)


def _audio_recipe(item: Any, rate: Callable[[], int]) -> AudioRecipe:
    samples = item[0] if isinstance(item, tuple) else item
    per_second = rate()
    return AudioRecipe(waveform="sweep", seconds=len(samples) / per_second, rate=per_second)


_RECIPES: Mapping[str, Callable[[Any, Callable[[], int]], ImageRecipe | VideoRecipe | AudioRecipe]] = {
    "image": _image_recipe,
    "video": _video_recipe,
    "audio": _audio_recipe,
}
