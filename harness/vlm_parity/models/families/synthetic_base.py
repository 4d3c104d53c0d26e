"""Synthetic checkpoints that transformers itself writes, from a tiny configuration and a processor."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from vlm_parity.models.families.base import Family
from vlm_parity.models.synthetic.weights import fill_weights

TEXT_SIZES = {
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
}
"""Sizes of a tiny language model.

A head size of 32 is the smallest that vLLM's attention accepts on CPUs. With one key head, or with as many as
query heads, query heads that read a wrong key head would go unnoticed.
"""

NARROW_TEXT_SIZES = {**TEXT_SIZES, "hidden_size": 64, "head_dim": 32}
"""Sizes for an architecture with a head size of its own: as in released models, the heads together are not as
wide as the residual stream."""


class SyntheticFamily(Family):
    """A family whose synthetic checkpoint is saved by transformers: the model, then the processor.

    ``finish_checkpoint`` then adapts the files to those of released checkpoints.
    """

    generation: ClassVar[Mapping[str, Any]] = {}
    """The released ``generation_config.json``, without penalties and early stopping."""

    @abstractmethod
    def build_model(self) -> Any:
        """Build the tiny model with the initial weights of transformers."""

    @abstractmethod
    def build_processor(self) -> Any:
        """Build the transformers processor with tokenizer and chat template, as released except for sizes."""

    def finish_checkpoint(self, folder: Path) -> None:
        """Adapt saved files to the released form, as far as engines read it."""

    def build(self, folder: Path) -> None:
        import torch
        from transformers import GenerationConfig

        model = self.build_model().to(torch.bfloat16)
        fill_weights(model)
        model.generation_config = GenerationConfig(**self.generation)
        model.save_pretrained(folder)
        self.build_processor().save_pretrained(folder)
        self.finish_checkpoint(folder)
