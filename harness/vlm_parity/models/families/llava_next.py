"""LLaVA-NeXT (1.6): images in tiles of their own resolution, with a newline feature after every row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from vlm_parity.models.families.anyres_base import (
    build_mixed_media,
    count_kept_patches,
    count_patches_per_side,
    get_sizes,
)
from vlm_parity.models.families.base import MediumInfo, TowerInput, assign_spans, read_template
from vlm_parity.models.families.llava import CLIP, CROPPED, PATCH, Llava
from vlm_parity.models.families.synthetic_base import TEXT_SIZES
from vlm_parity.models.synthetic.llama_tokenizer import LLAMA_IDS, build_llama_tokenizer
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span

# A third of the released ones.
RESOLUTIONS = [[112, 224], [224, 112], [224, 224], [336, 112], [112, 336]]


class LlavaNext(Llava):
    """A tiny LLaVA 1.6 with Mistral."""

    name = "llava_next"
    folder = "llava-v1.6-mistral-7b-hf"
    model_types = ("llava_next",)
    # added_tokens.json and config.json of llava-hf/llava-v1.6-mistral-7b-hf.
    special_ids: ClassVar[Mapping[str, int]] = {**LLAMA_IDS, "<image>": 32000, "<pad>": 32001}

    def build_model(self) -> Any:
        from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration

        text = {
            **TEXT_SIZES,
            "model_type": "mistral",
            "vocab_size": 32064,
            "rms_norm_eps": 1e-5,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
            "sliding_window": None,
        }
        return LlavaNextForConditionalGeneration(
            LlavaNextConfig(
                text_config=text,
                vision_config=CLIP,
                image_grid_pinpoints=RESOLUTIONS,
                image_token_index=32000,
                image_seq_length=count_patches_per_side({"vision_config": CLIP}) ** 2,
                vision_feature_layer=-2,
                vision_feature_select_strategy="default",
                use_image_newline_parameter=True,
                tie_word_embeddings=False,
            )
        )

    def build_processor(self) -> Any:
        from transformers import LlavaNextImageProcessor, LlavaNextProcessor

        tokenizer = build_llama_tokenizer(
            {"<image>": 32000, "<pad>": 32001},
            32002,
            pad_token="<pad>",
            extra_special_tokens={"image_token": "<image>"},
        )
        return LlavaNextProcessor(
            image_processor=LlavaNextImageProcessor(image_grid_pinpoints=RESOLUTIONS, **CROPPED),
            tokenizer=tokenizer,
            patch_size=PATCH,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            # Renders as the template of llava-hf/llava-v1.6-mistral-7b-hf: only the first text of a turn that
            # is not the user's, and no generation prompt.
            chat_template=read_template("llava_next"),
        )

    def locate_spans(
        self,
        config: Mapping[str, Any],
        input_ids: Sequence[int],
        inputs: Mapping[str, Any],
        media: Sequence[MediumInfo],
    ) -> tuple[Span, ...]:
        counts: dict[Modality, list[int]] = {"image": count_image_features(config, inputs)}
        return assign_spans(input_ids, self.get_placeholder_ids(config), counts, media)

    def split_tower_inputs(
        self,
        config: Mapping[str, Any],
        inputs: Mapping[str, Any],
        spans: Sequence[Span],
    ) -> dict[Modality, list[TowerInput]]:
        return build_mixed_media(config, inputs)


def count_image_features(config: Mapping[str, Any], inputs: Mapping[str, Any]) -> list[int]:
    """Count the features of each image: downscaled, and in rows of tiles, each with a newline."""
    downscaled = count_patches_per_side(config) ** 2
    kept = [count_kept_patches(config, size) for size in get_sizes(inputs)]
    return [downscaled + rows * (columns + 1) for rows, columns in kept]
