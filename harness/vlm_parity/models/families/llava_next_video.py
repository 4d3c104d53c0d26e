"""LLaVA-NeXT-Video: images as in LLaVA-NeXT, frames of a video whole and pooled in squares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from vlm_parity.models.families.anyres_base import count_patches_per_side
from vlm_parity.models.families.base import MediumInfo, assign_spans, read_template
from vlm_parity.models.families.llava import CLIP, CROPPED
from vlm_parity.models.families.llava_next import RESOLUTIONS, LlavaNext, count_image_features
from vlm_parity.models.families.synthetic_base import TEXT_SIZES
from vlm_parity.models.synthetic.llama_tokenizer import LLAMA_IDS, build_llama_tokenizer
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span

# added_tokens.json and config.json of llava-hf/LLaVA-NeXT-Video-7B-hf.
_IDS = {"<video>": 32000, "<image>": 32001, "<pad>": 32002}

_PATCH = 8
"""Pixels. vLLM divides the side of an image by the square of the patch size, which must not round to
0: 336 by 14 * 14 in the released model."""
_CLIP = {**CLIP, "patch_size": _PATCH}


class LlavaNextVideo(LlavaNext):
    """A tiny LLaVA-NeXT-Video with Vicuna."""

    name = "llava_next_video"
    folder = "LLaVA-NeXT-Video-7B-hf"
    model_types = ("llava_next_video",)
    modalities: ClassVar[tuple[Modality, ...]] = ("image", "video")
    special_ids: ClassVar[Mapping[str, int]] = {**LLAMA_IDS, **_IDS}
    generation: ClassVar = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 32002}

    def build_model(self) -> Any:
        from transformers import LlavaNextVideoConfig, LlavaNextVideoForConditionalGeneration

        text = {**TEXT_SIZES, "model_type": "llama", "vocab_size": 32064, "rms_norm_eps": 1e-5}
        whole = count_patches_per_side({"vision_config": _CLIP}) ** 2
        return LlavaNextVideoForConditionalGeneration(
            LlavaNextVideoConfig(
                text_config=text,
                vision_config=_CLIP,
                image_grid_pinpoints=RESOLUTIONS,
                image_token_index=_IDS["<image>"],
                video_token_index=_IDS["<video>"],
                image_seq_length=whole,
                video_seq_length=whole // 4,
                spatial_pool_mode="average",
                spatial_pool_stride=2,
                vision_feature_layer=-2,
                vision_feature_select_strategy="default",
                use_image_newline_parameter=True,
                tie_word_embeddings=False,
            )
        )

    def build_processor(self) -> Any:
        from transformers import (
            LlavaNextImageProcessor,
            LlavaNextVideoProcessor,
            LlavaNextVideoVideoProcessor,
        )

        tokenizer = build_llama_tokenizer(
            _IDS,
            32003,
            pad_token="<pad>",
            extra_special_tokens={"image_token": "<image>", "video_token": "<video>"},
        )
        return LlavaNextVideoProcessor(
            video_processor=LlavaNextVideoVideoProcessor(**CROPPED),
            image_processor=LlavaNextImageProcessor(image_grid_pinpoints=RESOLUTIONS, **CROPPED),
            tokenizer=tokenizer,
            patch_size=_PATCH,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            # Renders as the template of llava-hf/LLaVA-NeXT-Video-7B-hf: images, then videos, then texts with
            # a space after each.
            chat_template=read_template("llava_next_video"),
        )

    def get_placeholder_ids(self, config: Mapping[str, Any]) -> dict[Modality, int]:
        return {"image": config["image_token_index"], "video": config["video_token_index"]}

    def locate_spans(
        self,
        config: Mapping[str, Any],
        input_ids: Sequence[int],
        inputs: Mapping[str, Any],
        media: Sequence[MediumInfo],
    ) -> tuple[Span, ...]:
        """Count one position per pooled square of patches in every frame."""
        frame = (count_patches_per_side(config) // config["spatial_pool_stride"]) ** 2
        counts: dict[Modality, list[int]] = {
            "image": count_image_features(config, inputs),
            "video": [medium.frames * frame for medium in media if medium.modality == "video"],
        }
        return assign_spans(input_ids, self.get_placeholder_ids(config), counts, media)
