"""InternVL3: images are cut into tiles; images and videos share one placeholder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, ClassVar

import numpy as np

from vlm_parity.models.families.base import MediumInfo, TowerInput, assign_spans, read_template, split_tiles
from vlm_parity.models.families.synthetic_base import TEXT_SIZES, SyntheticFamily
from vlm_parity.models.synthetic.byte_level_bpe import build_byte_level_tokenizer
from vlm_parity.models.synthetic.qwen_tokenizer_files import CONTROL_TOKENS, RANKS, TOOL_TOKENS
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span

_CONTEXT = "<IMG_CONTEXT>"
_TOKENS = (
    *CONTROL_TOKENS,
    *TOOL_TOKENS,
    "<img>",
    "</img>",
    _CONTEXT,
    "<quad>",
    "</quad>",
    "<ref>",
    "</ref>",
    "<box>",
    "</box>",
    "<video>",
)
_SIDE = 112  # pixels of a tile; the released models have 448
_PATCH = 14
_SEQUENCE = (_SIDE // _PATCH // 2) ** 2
_NORMALIZATION = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


class InternVL(SyntheticFamily):
    """A tiny InternVL3 in the layout of transformers (``InternVLForConditionalGeneration``)."""

    name = "internvl"
    model_types = ("internvl",)
    modalities: ClassVar[tuple[Modality, ...]] = ("image", "video")
    # transformers' InternVLConfig (image_token_id) and tokenizer_config.json of OpenGVLab/InternVL3-1B-hf.
    special_ids: ClassVar[Mapping[str, int]] = {
        "<|im_end|>": 151645,
        "<img>": 151665,
        "</img>": 151666,
        _CONTEXT: 151667,
    }

    array_aliases: ClassVar[Mapping[str, str]] = {"pixel_values_videos": "pixel_values"}  # of a video in vLLM

    def build_model(self) -> Any:
        from transformers import InternVLConfig, InternVLForConditionalGeneration

        text = {
            **TEXT_SIZES,
            "model_type": "qwen2",
            "architectures": ["Qwen2ForCausalLM"],  # released; LMDeploy builds the model by it
            "vocab_size": RANKS + len(_TOKENS),
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
            "bos_token_id": 151643,
            "eos_token_id": 151645,
            "tie_word_embeddings": False,
        }
        vision = {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "image_size": [_SIDE, _SIDE],
            "patch_size": [_PATCH, _PATCH],
            "attention_bias": True,
            "use_mean_pooling": True,
        }
        return InternVLForConditionalGeneration(
            InternVLConfig(
                text_config=text,
                vision_config=vision,
                image_token_id=151667,
                image_seq_length=_SEQUENCE,
                downsample_ratio=0.5,
                tie_word_embeddings=False,
            )
        )

    def build_processor(self) -> Any:
        from transformers import GotOcr2ImageProcessor, InternVLProcessor, InternVLVideoProcessor

        tokenizer = build_byte_level_tokenizer(
            {token: RANKS + place for place, token in enumerate(_TOKENS)},
            RANKS + len(_TOKENS),
            eos_token="<|im_end|>",
            pad_token="<|endoftext|>",
            extra_special_tokens={
                "start_image_token": "<img>",
                "end_image_token": "</img>",
                "context_image_token": _CONTEXT,
                "video_token": "<video>",
            },
        )
        size = {"height": _SIDE, "width": _SIDE}
        images = GotOcr2ImageProcessor(
            crop_to_patches=True, min_patches=1, max_patches=12, size=size, **_NORMALIZATION
        )
        return InternVLProcessor(
            image_processor=images,
            tokenizer=tokenizer,
            video_processor=InternVLVideoProcessor(size=size, **_NORMALIZATION),
            image_seq_length=_SEQUENCE,
            # Renders as the template of OpenGVLab/InternVL3-1B-hf.
            chat_template=read_template("internvl"),
        )

    def get_placeholder_ids(self, config: Mapping[str, Any]) -> dict[Modality, int]:
        return dict.fromkeys(("image", "video"), config["image_token_id"])

    def locate_spans(
        self,
        config: Mapping[str, Any],
        input_ids: Sequence[int],
        inputs: Mapping[str, Any],
        media: Sequence[MediumInfo],
    ) -> tuple[Span, ...]:
        """Count an image, or each frame of a video, between one pair of ``<img>`` and ``</img>``."""
        runs = iter(_split_placeholder_runs(input_ids, config["image_token_id"]))
        counts: dict[Modality, list[int]] = {"image": [], "video": []}
        for medium in media:
            own = [next(runs, 0) for _ in range(medium.frames)]
            counts[medium.modality].append(sum(own))
        return assign_spans(input_ids, self.get_placeholder_ids(config), counts, media)

    def split_tower_inputs(
        self, config: Mapping[str, Any], inputs: Mapping[str, Any], spans: Sequence[Span]
    ) -> dict[Modality, list[TowerInput]]:
        """Split the tiles of all media, which are in the order of the prompt."""
        if inputs.get("pixel_values") is None:
            return {}
        tiles = np.asarray(inputs["pixel_values"], np.float32)
        return split_tiles(tiles, spans, config["image_seq_length"])


def _split_placeholder_runs(input_ids: Sequence[int], placeholder: int) -> Iterator[int]:
    """Yield the length of each run of the placeholder."""
    for token, run in groupby(input_ids):
        if token == placeholder:
            yield len(list(run))
