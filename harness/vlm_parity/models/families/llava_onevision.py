"""LLaVA-OneVision: a single image in tiles, several ones whole, videos pooled frame by frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, sqrt
from pathlib import Path
from typing import Any, ClassVar

from vlm_parity.models.families.anyres_base import (
    ImageSize,
    build_mixed_media,
    count_kept_patches,
    count_patches_per_side,
    get_sizes,
)
from vlm_parity.models.families.base import MediumInfo, TowerInput, assign_spans, read_template
from vlm_parity.models.families.synthetic_base import TEXT_SIZES, SyntheticFamily
from vlm_parity.models.synthetic.byte_level_bpe import build_byte_level_tokenizer
from vlm_parity.models.synthetic.qwen_tokenizer_files import RANKS
from vlm_parity.models.synthetic.tower_weight_names import rename_tower_weights
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span

# As with the released 384, a side is no multiple of the patch size of 14, and holds an odd number of patches:
# 7 here, 27 there.
_SIDE = 104
_PATCHES = (_SIDE // 14) ** 2
_RESOLUTIONS = [[_SIDE * rows, _SIDE * columns] for rows in range(1, 7) for columns in range(1, 7)]
_MAX_TILES = "anyres_max_9"
_MAX_RATIO = 1.1
"""Ratio of a side to the allowed one above which features are downsampled: a constant of transformers."""

# added_tokens.json of llava-hf/llava-onevision-qwen2-0.5b-ov-hf.
_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>")
_IDS = {token: RANKS + place for place, token in enumerate(_TOKENS)}


class LlavaOnevision(SyntheticFamily):
    """A tiny LLaVA-OneVision: a SigLIP tower and Qwen2."""

    name = "llava_onevision"
    model_types = ("llava_onevision",)
    modalities: ClassVar[tuple[Modality, ...]] = ("image", "video")
    special_ids: ClassVar[Mapping[str, int]] = _IDS
    generation: ClassVar = {"bos_token_id": 151643, "eos_token_id": [151645, 151643], "pad_token_id": 151643}

    def build_model(self) -> Any:
        from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

        text = {
            **TEXT_SIZES,
            "model_type": "qwen2",
            "vocab_size": 152000,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
            "bos_token_id": 151643,
            "eos_token_id": 151645,
        }
        vision = {
            "model_type": "siglip_vision_model",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": _SIDE,
            "patch_size": 14,
            "vision_use_head": False,
        }
        return LlavaOnevisionForConditionalGeneration(
            LlavaOnevisionConfig(
                text_config=text,
                vision_config=vision,
                image_grid_pinpoints=_RESOLUTIONS,
                image_token_index=_IDS["<image>"],
                video_token_index=_IDS["<video>"],
                vision_feature_layer=-1,
                vision_feature_select_strategy="full",
                vision_aspect_ratio=_MAX_TILES,
                tie_word_embeddings=False,
            )
        )

    def build_processor(self) -> Any:
        from transformers import (
            LlavaOnevisionImageProcessor,
            LlavaOnevisionProcessor,
            LlavaOnevisionVideoProcessor,
        )

        size = {"height": _SIDE, "width": _SIDE}
        tokenizer = build_byte_level_tokenizer(
            _IDS, RANKS + len(_TOKENS), eos_token="<|im_end|>", pad_token="<|endoftext|>"
        )
        return LlavaOnevisionProcessor(
            image_processor=LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=_RESOLUTIONS),
            tokenizer=tokenizer,
            video_processor=LlavaOnevisionVideoProcessor(size=size),
            num_image_tokens=_PATCHES,
            vision_feature_select_strategy="full",
            vision_aspect_ratio=_MAX_TILES,
            # Renders as the template of llava-hf/llava-onevision-qwen2-0.5b-ov-hf: images, then videos, then
            # texts.
            chat_template=read_template("llava_onevision"),
        )

    def finish_checkpoint(self, folder: Path) -> None:
        rename_tower_weights(folder)

    def adapt_processor_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Nest the images as those of one conversation, like ``apply_chat_template``.

        The processor reads a flat list as conversations with one image each, and cuts all into tiles.
        """
        nested = {"images": [arguments["images"]]} if "images" in arguments else {}
        return {**arguments, **nested}

    def get_placeholder_ids(self, config: Mapping[str, Any]) -> dict[Modality, int]:
        return {"image": config["image_token_index"], "video": config["video_token_index"]}

    def locate_spans(
        self,
        config: Mapping[str, Any],
        input_ids: Sequence[int],
        inputs: Mapping[str, Any],
        media: Sequence[MediumInfo],
    ) -> tuple[Span, ...]:
        """Count tiles of a single image only, and a newline feature after several images and videos."""
        patches, sizes = count_patches_per_side(config), get_sizes(inputs)
        frame = ceil(patches / 2) ** 2
        is_single = len(sizes) == 1
        counts: dict[Modality, list[int]] = {
            "image": [_count_features(config, size) if is_single else patches**2 + 1 for size in sizes],
            "video": [medium.frames * frame + 1 for medium in media if medium.modality == "video"],
        }
        return assign_spans(input_ids, self.get_placeholder_ids(config), counts, media)

    def split_tower_inputs(
        self,
        config: Mapping[str, Any],
        inputs: Mapping[str, Any],
        spans: Sequence[Span],
    ) -> dict[Modality, list[TowerInput]]:
        return build_mixed_media(config, inputs)


def _count_features(config: Mapping[str, Any], size: ImageSize) -> int:
    """Count the features of a single image: downscaled, and in rows of tiles, each with a newline.

    Source: ``_get_unpadded_features`` of transformers' ``LlavaOnevisionProcessor``.
    """
    patches = count_patches_per_side(config)
    rows, columns = count_kept_patches(config, size)
    max_tiles = int(config["vision_aspect_ratio"].removeprefix("anyres_max_"))
    ratio = sqrt(rows * columns / (max_tiles * patches**2))
    if ratio > _MAX_RATIO:
        rows, columns = int(rows // ratio), int(columns // ratio)
    return patches**2 + rows * (columns + 1)
