"""Qwen's vision-language families.

The files next to the weights have the form of the released checkpoints, so every engine reads them alike.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from vlm_parity.models.families.base import read_template
from vlm_parity.models.families.grid_base import GridFamily
from vlm_parity.models.synthetic.qwen_tokenizer_files import QWEN2, Vocabulary, write_json, write_tokenizer
from vlm_parity.models.synthetic.weights import fill_weights
from vlm_parity.schema.case import Modality

QWEN_TEXT = {
    "vocab_size": 151936,
    "rms_norm_eps": 1e-6,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
}
"""Settings of the released language models."""

SPECIAL_IDS = {
    "image_token_id": 151655,
    "video_token_id": 151656,
    "vision_start_token_id": 151652,
    "vision_end_token_id": 151653,
}

RELEASED_IDS = {
    "<|endoftext|>": 151643,
    "<|im_start|>": 151644,
    "<|im_end|>": 151645,
    "<|vision_start|>": 151652,
    "<|vision_end|>": 151653,
    "<|vision_pad|>": 151654,
    "<|image_pad|>": 151655,
    "<|video_pad|>": 151656,
}
"""From the released ``tokenizer_config.json`` of Qwen2-VL, Qwen2.5-VL and Qwen3-VL."""

# Released, except for Qwen2.5-VL's repetition_penalty of 1.05: the model itself is compared.
GENERATION = {"do_sample": True, "repetition_penalty": 1.0}

# Of the released Qwen2-VL and Qwen2.5-VL; their video processors read the same file.
PREPROCESSOR = {
    "min_pixels": 3136,
    "max_pixels": 12845056,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "image_processor_type": "Qwen2VLImageProcessor",
}


class QwenVLFamily(GridFamily):
    """A family whose synthetic checkpoint has tokenizer, processor and template files as released."""

    special_ids: ClassVar[Mapping[str, int]] = RELEASED_IDS
    # Renders as the template of the released Qwen2-VL and Qwen2.5-VL.
    chat_template: ClassVar[str] = read_template("qwen_vl_base")
    vocabulary: ClassVar[Vocabulary] = QWEN2
    extra_tokens: ClassVar[tuple[str, ...]] = ()
    """Tokens after ``CONTROL_TOKENS``, in order."""
    max_length: ClassVar[int] = 32768
    generation: ClassVar[Mapping[str, Any]]
    """Sampling parameters of the released model."""

    @abstractmethod
    def build_model(self) -> Any:
        """Build the tiny model with the initial weights of transformers."""

    @abstractmethod
    def get_preprocessor_configs(self) -> dict[str, dict[str, Any]]:
        """Return the released processor configurations, by file name."""

    def build(self, folder: Path) -> None:
        import torch
        from transformers import GenerationConfig

        model = self.build_model().to(torch.bfloat16)
        fill_weights(model)
        end_of_text = self.vocabulary.ranks
        model.generation_config = GenerationConfig(
            bos_token_id=end_of_text,
            eos_token_id=[self.special_ids["<|im_end|>"], end_of_text],
            pad_token_id=end_of_text,
            **GENERATION,
            **self.generation,
        )
        model.save_pretrained(folder)
        write_tokenizer(folder, self.extra_tokens, self.max_length, self.chat_template, self.vocabulary)
        for name, settings in self.get_preprocessor_configs().items():
            write_json(folder / name, settings)

    def get_placeholder_ids(self, config: Mapping[str, Any]) -> dict[Modality, int]:
        return {"image": config["image_token_id"], "video": config["video_token_id"]}
