"""LLaVA 1.5: images cropped around their center to one size, with a fixed number of positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from vlm_parity.models.families.base import read_template
from vlm_parity.models.families.fixed_size_base import FixedSizeFamily
from vlm_parity.models.families.synthetic_base import TEXT_SIZES
from vlm_parity.models.synthetic.llama_tokenizer import LLAMA_IDS, build_llama_tokenizer

_SIDE = 112  # pixels of an image; the released models have 336
PATCH = 14
CLIP = {
    "model_type": "clip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": _SIDE,
    "patch_size": PATCH,
    "projection_dim": 32,
}
CROPPED = {"size": {"shortest_edge": _SIDE}, "crop_size": {"height": _SIDE, "width": _SIDE}}
_SEQUENCE = (_SIDE // PATCH) ** 2


class Llava(FixedSizeFamily):
    """A tiny LLaVA 1.5: the last but one layer of a CLIP tower, and Vicuna."""

    name = "llava"
    folder = "llava-1.5-7b-hf"
    model_types = ("llava",)
    # added_tokens.json and config.json of llava-hf/llava-1.5-7b-hf.
    special_ids: ClassVar[Mapping[str, int]] = {**LLAMA_IDS, "<image>": 32000, "<pad>": 32001}
    generation: ClassVar = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 32001}

    def build_model(self) -> Any:
        from transformers import LlavaConfig, LlavaForConditionalGeneration

        text = {
            **TEXT_SIZES,
            "model_type": "llama",
            "vocab_size": 32064,
            "rms_norm_eps": 1e-5,
            "pad_token_id": 32001,
        }
        return LlavaForConditionalGeneration(
            LlavaConfig(
                text_config=text,
                vision_config=CLIP,
                image_token_index=32000,
                image_seq_length=_SEQUENCE,
                vision_feature_layer=-2,
                vision_feature_select_strategy="default",
                pad_token_id=32001,
                tie_word_embeddings=False,
            )
        )

    def build_processor(self) -> Any:
        from transformers import CLIPImageProcessor, LlavaProcessor

        tokenizer = build_llama_tokenizer(
            {"<image>": 32000, "<pad>": 32001},
            32002,
            pad_token="<pad>",
            extra_special_tokens={"image_token": "<image>"},
        )
        return LlavaProcessor(
            image_processor=CLIPImageProcessor(**CROPPED),
            tokenizer=tokenizer,
            patch_size=PATCH,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            # Renders as the template of llava-hf/llava-1.5-7b-hf: images first, a space after every text.
            chat_template=read_template("llava"),
        )

    def count_image_positions(self, config: Mapping[str, Any]) -> int:
        vision = config["vision_config"]
        patches: int = (vision["image_size"] // vision["patch_size"]) ** 2
        with_class_token: bool = config["vision_feature_select_strategy"] == "full"
        return patches + with_class_token
