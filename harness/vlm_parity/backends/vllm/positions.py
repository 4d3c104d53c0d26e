"""The positions that vLLM's rotary embedding would be given, without an engine."""

from __future__ import annotations

from typing import Any

import numpy as np

from vlm_parity.util.errors import PrivateApiChangedError

_METHOD = "get_mrope_input_positions"


def compute_positions(config: Any, rendered: dict[str, Any]) -> np.ndarray:
    """Asks the model class itself, on an object without weights.

    Args:
        config: vLLM's ``VllmConfig``.
        rendered: what its renderer made of the case.

    Returns:
        int64 [axes, prompt positions].

    Raises:
        PrivateApiChangedError: vLLM has moved what is needed.
    """
    import torch

    try:
        from vllm.model_executor.model_loader import get_model_architecture
        from vllm.multimodal.inputs import MultiModalFeatureSpec
    except ImportError as problem:
        raise PrivateApiChangedError(f"vLLM has moved a name: {problem}") from problem
    ids = rendered["prompt_token_ids"]
    if not config.model_config.uses_mrope:  # as the model runner asks; a class may have the method even so
        return np.arange(len(ids), dtype=np.int64)[None]
    kind, _ = get_model_architecture(config.model_config)
    if not hasattr(kind, _METHOD):
        raise PrivateApiChangedError(f"{kind.__module__}.{kind.__name__} has no {_METHOD}")
    shell = kind.__new__(kind)
    torch.nn.Module.__init__(shell)
    whole = config.model_config.hf_config
    shell.config = getattr(whole, "thinker_config", whole)  # an omni model is made of its thinker's
    shell.multimodal_config = config.model_config.multimodal_config
    features = [
        MultiModalFeatureSpec(
            data=rendered["mm_kwargs"][modality][item],
            modality=modality,
            identifier=f"{modality}-{item}",
            mm_position=place,
        )
        for modality, places in (rendered.get("mm_placeholders") or {}).items()
        for item, place in enumerate(places)
    ]
    features.sort(key=lambda feature: feature.mm_position.offset)
    positions, _ = getattr(shell, _METHOD)(list(ids), features)
    array: np.ndarray = positions.numpy()
    return array
