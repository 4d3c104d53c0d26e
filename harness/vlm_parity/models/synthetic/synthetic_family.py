"""Builds a checkpoint from what transformers makes of a tiny configuration and a processor."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from vlm_parity.models.families.base import Family
from vlm_parity.models.synthetic.weights import fill_weights

TEXT_SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 32768,
}
"""Of a tiny language model. Its head size of 32 is the smallest that vLLM's attention takes on a CPU."""


class SyntheticFamily(Family):
    """A family whose checkpoint transformers itself writes: model, then processor, then what released
    checkpoints hold otherwise (``finish``).
    """

    generation: ClassVar[Mapping[str, Any]] = {}
    """Of the released ``generation_config.json``; what penalises or stops early is left out."""

    @abstractmethod
    def model(self) -> Any:
        """The tiny model, as transformers initialises it."""

    @abstractmethod
    def processor(self) -> Any:
        """The transformers processor with its tokenizer and chat template, as released but for sizes."""

    def finish(self, folder: Path) -> None:
        """Changes what transformers wrote into what released checkpoints hold, where engines read that."""

    def build(self, folder: Path) -> None:
        import torch
        from transformers import GenerationConfig

        model = self.model().to(torch.bfloat16)
        fill_weights(model)
        model.generation_config = GenerationConfig(**self.generation)
        model.save_pretrained(folder)
        self.processor().save_pretrained(folder)
        self.finish(folder)
