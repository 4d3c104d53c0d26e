"""Rotary positions of vLLM 0.8.5 to 0.10.

The V1 model runner (``_update_states``, in 0.10.2 ``_init_mrope_positions``) selects five fields of the model
arguments of each medium, in the order of the prompt, and passes them to ``MRotaryEmbedding``. It cannot be
created without an engine, so the selection is repeated here.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vlm_parity.util.errors import PrivateApiChangedError

_METHOD = "get_input_positions_tensor"
_GRIDS = ("image_grid_thw", "video_grid_thw")
_NUMBERS = ("second_per_grid_ts", "audio_feature_lengths")
_AUDIO_FLAG = "use_audio_in_video"


def compute_positions(config: Any, ids: Sequence[int], items: Iterable[Mapping[str, Any]]) -> np.ndarray:
    """Return the positions of a prompt, computed by vLLM's rotary embedding.

    Args:
        config: vLLM's ``ModelConfig``.
        ids: of the prompt, placeholders expanded.
        items: model arguments of each medium, in the order of the prompt.

    Returns:
        int64 [axes, prompt positions].

    Raises:
        PrivateApiChangedError: vLLM has moved a name, or the method has different parameters.
    """
    if not config.uses_mrope:
        return np.arange(len(ids), dtype=np.int64)[None]
    try:
        from vllm.model_executor.layers.rotary_embedding import MRotaryEmbedding
    except ImportError as error:
        raise PrivateApiChangedError(f"vLLM has moved a name: {error}") from error
    compute = getattr(MRotaryEmbedding, _METHOD, None)
    if compute is None:
        raise PrivateApiChangedError(f"MRotaryEmbedding.{_METHOD} is gone")
    fields = select_fields(items)
    unknown = set(fields) - set(inspect.signature(compute).parameters)
    if unknown:
        raise PrivateApiChangedError(f"MRotaryEmbedding.{_METHOD} has no {', '.join(sorted(unknown))}")
    positions, _ = compute(list(ids), hf_config=config.hf_config, **fields)
    array: np.ndarray = positions.numpy()
    return array


def select_fields(items: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the fields that the model runner selects, under exactly these names.

    Args:
        items: model arguments of each medium, in the order of the prompt.
    """
    media = list(items)
    fields: dict[str, Any] = {
        name: [item[name].tolist() for item in media if item.get(name) is not None] for name in _GRIDS
    }
    for name in _NUMBERS:
        fields[name] = [item[name] for item in media if item.get(name) is not None]
    return {**fields, _AUDIO_FLAG: any(item.get(_AUDIO_FLAG) is True for item in media)}
