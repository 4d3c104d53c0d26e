"""Families with a Pixtral vision tower: images of any size, in rows of patches.

They use Mistral's tokens: ``[IMG]`` for a patch, ``[IMG_BREAK]`` after a row of them, ``[IMG_END]`` after the
image.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from vlm_parity.models.families.base import MediumInfo, TowerInput, assign_spans
from vlm_parity.models.families.synthetic_base import NARROW_TEXT_SIZES, SyntheticFamily
from vlm_parity.models.synthetic.byte_level_bpe import build_byte_level_tokenizer
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span

VOCABULARY = 131072
"""Number of ids of Tekken, the tokenizer of the released models."""
_WORDS = 32768
"""Ids with a text: more would slow the build down and reveal nothing."""

# mistral_common's Tekkenizer.DEPRECATED_SPECIAL_TOKENS, in this order from id 0.
_TOKENS = (
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
)

TEXT = {
    **NARROW_TEXT_SIZES,
    "model_type": "mistral",
    "vocab_size": VOCABULARY,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e9},
    "rms_norm_eps": 1e-5,
    "sliding_window": None,
    "tie_word_embeddings": False,
}
"""The constants are released: vLLM hard-codes the ``rms_norm_eps`` of Mistral Small 3.1's projector,
transformers uses the language model's."""

VISION = {
    "model_type": "pixtral",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "head_dim": 16,
    "hidden_act": "gelu",
}
"""transformers' PixtralVisionConfig, without the sizes of an image and a patch."""


class PixtralTower(SyntheticFamily):
    """A family with one ``[IMG]`` per patch, or per square of patches that the projector merges."""

    modalities: ClassVar[tuple[Modality, ...]] = ("image",)
    special_ids: ClassVar[Mapping[str, int]] = {token: index for index, token in enumerate(_TOKENS)}
    generation: ClassVar[Mapping[str, Any]] = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 11}
    chat_template: ClassVar[str]
    image_size: ClassVar[int]
    """Longest side of an image, in pixels; the released models have more."""
    patch_size: ClassVar[int]
    """Side of a patch, in pixels, as released."""
    merge_size: ClassVar[int]
    """Side, in patches, of the squares that the projector merges."""

    @abstractmethod
    def build_model(self) -> Any: ...

    def build_processor(self) -> Any:
        from transformers import PixtralImageProcessor, PixtralProcessor

        tokenizer = build_byte_level_tokenizer(
            self.special_ids,
            VOCABULARY,
            _WORDS,
            bos="<s>",
            eos_token="</s>",
            pad_token="<pad>",
            unk_token="<unk>",
        )
        # The image processor's own patch size has no effect: the processor passes the merged one.
        images = PixtralImageProcessor(
            size={"longest_edge": self.image_size},
            patch_size={"height": self.patch_size, "width": self.patch_size},
        )
        return PixtralProcessor(
            image_processor=images,
            tokenizer=tokenizer,
            patch_size=self.patch_size,
            spatial_merge_size=self.merge_size,
            chat_template=self.chat_template,
        )

    def get_placeholder_ids(self, config: Mapping[str, Any]) -> dict[Modality, int]:
        return {"image": config["image_token_index"]}

    def locate_spans(
        self,
        config: Mapping[str, Any],
        input_ids: Sequence[int],
        inputs: Mapping[str, Any],
        media: Sequence[MediumInfo],
    ) -> tuple[Span, ...]:
        pixels_per_position = config["vision_config"]["patch_size"] * config.get("spatial_merge_size", 1)
        sizes = inputs.get("image_sizes")
        counts: list[int] = (
            [] if sizes is None else (np.asarray(sizes) // pixels_per_position).prod(axis=-1).tolist()
        )
        return assign_spans(input_ids, self.get_placeholder_ids(config), {"image": counts}, media)

    def split_tower_inputs(
        self,
        config: Mapping[str, Any],
        inputs: Mapping[str, Any],
        spans: Sequence[Span],
    ) -> dict[Modality, list[TowerInput]]:
        """Crop each image to its own size, [channels, height, width].

        transformers pads all images of a request to the largest, and its tower crops them again.
        """
        if inputs.get("pixel_values") is None:
            return {}
        pixels = np.asarray(inputs["pixel_values"], np.float32)
        sizes = inputs.get("image_sizes")
        if sizes is None:  # an engine's single image, perhaps with an axis of images
            return {"image": [TowerInput({}, {"pixel_values": pixels.reshape(pixels.shape[-3:])})]}
        images = [
            image[:, :height, :width]
            for image, (height, width) in zip(pixels, np.asarray(sizes).tolist(), strict=True)
        ]
        return {"image": [TowerInput({}, {"pixel_values": image}) for image in images]}
