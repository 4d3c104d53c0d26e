"""Rotary positions as vLLM computes them, without an engine."""

from __future__ import annotations

from typing import Any

import numpy as np

from vlm_parity.util.errors import PrivateApiChangedError

_METHOD = "get_mrope_input_positions"


def compute_positions(config: Any, rendered: dict[str, Any]) -> np.ndarray:
    """Return the positions of a prompt, computed by vLLM's model class on an object without weights.

    Args:
        config: vLLM's ``VllmConfig``.
        rendered: a prompt rendered by vLLM.

    Returns:
        int64 [axes, prompt positions].

    Raises:
        PrivateApiChangedError: vLLM has moved a name.
    """
    import torch

    try:
        from vllm.model_executor.model_loader import get_model_architecture
        from vllm.multimodal.inputs import MultiModalFeatureSpec
    except ImportError as error:
        raise PrivateApiChangedError(f"vLLM has moved a name: {error}") from error
    ids = rendered["prompt_token_ids"]
    if not config.model_config.uses_mrope:  # as in the model runner: some classes have the method regardless
        return np.arange(len(ids), dtype=np.int64)[None]
    model_class, _ = get_model_architecture(config.model_config)
    if not hasattr(model_class, _METHOD):
        raise PrivateApiChangedError(f"{model_class.__module__}.{model_class.__name__} has no {_METHOD}")
    model = model_class.__new__(model_class)
    torch.nn.Module.__init__(model)
    hf_config = config.model_config.hf_config
    model.config = getattr(hf_config, "thinker_config", hf_config)  # as the class of an omni model has it
    model.multimodal_config = config.model_config.multimodal_config
    features = [
        MultiModalFeatureSpec(
            data=rendered["mm_kwargs"][modality][item],
            modality=modality,
            identifier=f"{modality}-{item}",
            mm_position=placeholder,
        )
        for modality, placeholders in (rendered.get("mm_placeholders") or {}).items()
        for item, placeholder in enumerate(placeholders)
    ]
    features.sort(key=lambda feature: feature.mm_position.offset)
    positions, _ = getattr(model, _METHOD)(list(ids), features)
    array: np.ndarray = positions.numpy()
    return array
