"""Released names of the weights of CLIP and SigLIP towers."""

from __future__ import annotations

import re
from pathlib import Path

_PARTS = re.compile(r"(?<=vision_tower\.)(?=(embeddings|encoder|pre_layrnorm|post_layernorm|head)\.)")


def get_released_name(name: str) -> str:
    """Return the name with the level ``vision_model``, which transformers 5.19 drops and vLLM requires."""
    return _PARTS.sub("vision_model.", name)


def rename_tower_weights(folder: Path) -> None:
    """Rename the weights of the tower in a folder's ``model.safetensors``."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    weights = {get_released_name(name): tensor for name, tensor in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})
