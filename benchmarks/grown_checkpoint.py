"""Checkpoints of Qwen2-VL with random weights and up to 1.5 billion parameters, for benchmarks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm_parity.models.families.qwen2_vl import Qwen2VL


@dataclass(frozen=True)
class Size:
    """Sizes of the language model; the vision tower stays tiny."""

    layers: int
    hidden: int
    intermediate: int
    heads: int


SIZES = {"0.1 B": Size(8, 256, 1024, 4), "0.5 B": Size(14, 896, 4864, 14), "1.5 B": Size(22, 1536, 8960, 12)}
"""Widths of the last two: Qwen2 0.5B and 1.5B, with untied embeddings and fewer layers."""


class GrownQwen2VL(Qwen2VL):
    """Qwen2-VL with a larger language model."""

    def __init__(self, size: Size) -> None:
        self._size = size
        self.parameters = 0

    def build_model(self) -> Any:
        from transformers import Qwen2VLForConditionalGeneration

        config = super().build_model().config
        text, size = config.text_config, self._size
        text.num_hidden_layers, text.hidden_size, text.intermediate_size = (
            size.layers,
            size.hidden,
            size.intermediate,
        )
        text.num_attention_heads, text.num_key_value_heads = size.heads, size.heads // 2
        text.layer_types = ["full_attention"] * size.layers
        head = size.hidden // size.heads
        text.rope_parameters["mrope_section"] = [head // 8, head * 3 // 16, head * 3 // 16]
        config.vision_config.hidden_size = size.hidden
        model = Qwen2VLForConditionalGeneration(config)
        self.parameters = model.num_parameters()
        return model


def build_grown_checkpoint(name: str, folder: Path) -> int:
    """Build a checkpoint of ``SIZES`` in a folder and return its number of parameters."""
    family = GrownQwen2VL(SIZES[name])
    family.build(folder)
    return family.parameters
