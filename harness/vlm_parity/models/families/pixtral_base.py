"""What the families with a Pixtral vision tower share: pictures of any size, in rows of patches.

Mistral's tokens between them: ``[IMG]`` is a patch, ``[IMG_BREAK]`` ends a row of them, ``[IMG_END]``
the picture.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from vlm_parity.models.families.base import MediumInfo, TowerInput, spans_from_counts
from vlm_parity.models.synthetic.byte_level_bpe import build_byte_level_tokenizer
from vlm_parity.models.synthetic.synthetic_family import TEXT_SIZES, SyntheticFamily
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span

VOCABULARY = 131072
"""Ids of the released models' tokenizer, Tekken."""
_WORDS = 32768
"""How many of them have a text here: the rest would make building slow and find nothing more."""

# mistral_common's Tekkenizer.DEPRECATED_SPECIAL_TOKENS, which stand in this order from 0 on.
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
    **TEXT_SIZES,
    "model_type": "mistral",
    "head_dim": 32,
    "vocab_size": VOCABULARY,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e9},
    "rms_norm_eps": 1e-5,
    "sliding_window": None,
    "tie_word_embeddings": False,
}
"""The numbers are the released ones: vLLM has the ``rms_norm_eps`` of Mistral Small 3.1's projector
written into its code, transformers takes the language model's."""

VISION = {
    "model_type": "pixtral",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "head_dim": 16,
    "hidden_act": "gelu",
}
"""But for the sizes of a picture and a patch. transformers' PixtralVisionConfig."""


class PixtralTower(SyntheticFamily):
    """One ``[IMG]`` for each patch, or square of patches that the projector merges."""

    modalities: ClassVar[tuple[Modality, ...]] = ("image",)
    special_ids: ClassVar[Mapping[str, int]] = {token: place for place, token in enumerate(_TOKENS)}
    generation: ClassVar[Mapping[str, Any]] = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 11}
    chat_template: ClassVar[str]
    side: ClassVar[int]
    """The longest a picture is, in pixels; the released models have more."""
    patch: ClassVar[int]
    """Pixels of a patch's side, as released."""
    merged: ClassVar[int]
    """Patches of a side of the squares that the projector merges."""

    @abstractmethod
    def model(self) -> Any: ...

    def processor(self) -> Any:
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
        # The image processor's own patches are of no account: the processor tells it the merged ones.
        images = PixtralImageProcessor(
            size={"longest_edge": self.side}, patch_size={"height": self.patch, "width": self.patch}
        )
        return PixtralProcessor(
            image_processor=images,
            tokenizer=tokenizer,
            patch_size=self.patch,
            spatial_merge_size=self.merged,
            chat_template=self.chat_template,
        )

    def placeholder_ids(self, config: Mapping[str, Any]) -> dict[Modality, int]:
        return {"image": config["image_token_index"]}

    def spans(
        self,
        config: Mapping[str, Any],
        input_ids: Sequence[int],
        inputs: Mapping[str, Any],
        media: Sequence[MediumInfo],
    ) -> tuple[Span, ...]:
        side = config["vision_config"]["patch_size"] * config.get("spatial_merge_size", 1)
        sizes = inputs.get("image_sizes")
        counts: list[int] = [] if sizes is None else (np.asarray(sizes) // side).prod(axis=-1).tolist()
        modalities = [medium.modality for medium in media]
        return spans_from_counts(input_ids, self.placeholder_ids(config), {"image": counts}, modalities)

    def tower_inputs(
        self,
        config: Mapping[str, Any],
        inputs: Mapping[str, Any],
        spans: Sequence[Span],
    ) -> dict[Modality, list[TowerInput]]:
        """Each picture in its own size, [channels, height, width]: transformers pads all of a request to
        the largest, and its tower cuts them again.
        """
        if inputs.get("pixel_values") is None:
            return {}
        pixels = np.asarray(inputs["pixel_values"], np.float32)
        sizes = inputs.get("image_sizes")
        if sizes is None:  # one picture of an engine, perhaps with an axis of pictures
            return {"image": [TowerInput({}, {"pixel_values": pixels.reshape(pixels.shape[-3:])})]}
        cut = [
            picture[:, :height, :width]
            for picture, (height, width) in zip(pixels, np.asarray(sizes).tolist(), strict=True)
        ]
        return {"image": [TowerInput({}, {"pixel_values": picture}) for picture in cut]}
