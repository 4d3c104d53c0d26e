"""The positions that vLLM 0.8.5 to 0.10 gives its rotary embedding.

Its V1 model runner (``_update_states``, in 0.10.2 ``_init_mrope_positions``) picks five things out of what
the model is handed of each medium, in the order of the prompt, and asks ``MRotaryEmbedding`` with them. The
runner cannot be had without an engine, so the picking is written out here.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vlm_parity.util.errors import PrivateApiChangedError

_POSITION_ARGUMENTS = "get_input_positions_tensor"
_GRIDS = ("image_grid_thw", "video_grid_thw")
_NUMBERS = ("second_per_grid_ts", "audio_feature_lengths")
_AUDIO_ARGUMENTS = "use_audio_in_video"


def compute_positions(config: Any, ids: Sequence[int], items: Iterable[Mapping[str, Any]]) -> np.ndarray:
    """Asks vLLM's rotary embedding.

    Args:
        config: vLLM's ``ModelConfig``.
        ids: of the prompt, the placeholders expanded.
        items: what the model is handed of each medium, in the order of the prompt.

    Returns:
        int64 [axes, prompt positions].

    Raises:
        PrivateApiChangedError: vLLM has moved what is needed, or wants to know more.
    """
    if not config.uses_mrope:
        return np.arange(len(ids), dtype=np.int64)[None]
    try:
        from vllm.model_executor.layers.rotary_embedding import MRotaryEmbedding
    except ImportError as problem:
        raise PrivateApiChangedError(f"vLLM has moved a name: {problem}") from problem
    ask = getattr(MRotaryEmbedding, _POSITION_ARGUMENTS, None)
    if ask is None:
        raise PrivateApiChangedError(f"MRotaryEmbedding.{_POSITION_ARGUMENTS} is gone")
    picked = select_fields(items)
    unknown = set(picked) - set(inspect.signature(ask).parameters)
    if unknown:
        raise PrivateApiChangedError(
            f"MRotaryEmbedding.{_POSITION_ARGUMENTS} takes no {', '.join(sorted(unknown))}"
        )
    positions, _ = ask(list(ids), hf_config=config.hf_config, **picked)
    array: np.ndarray = positions.numpy()
    return array


def select_fields(items: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What the model runner picks out of the media, under these very names and no others."""
    found = list(items)
    picked: dict[str, Any] = {
        name: [item[name].tolist() for item in found if item.get(name) is not None] for name in _GRIDS
    }
    for name in _NUMBERS:
        picked[name] = [item[name] for item in found if item.get(name) is not None]
    return {**picked, _AUDIO_ARGUMENTS: any(item.get(_AUDIO_ARGUMENTS) is True for item in found)}
