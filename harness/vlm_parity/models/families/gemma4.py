"""Gemma 4: images of any aspect ratio, video frames after their timestamps, attention heads of two sizes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vlm_parity.models.families.base import MediumInfo, TowerInput, assign_spans, read_template
from vlm_parity.models.families.synthetic_base import NARROW_TEXT_SIZES, SyntheticFamily
from vlm_parity.models.synthetic.gemma_tokenizer import GEMMA_IDS, build_gemma_tokenizer
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span

_MAX_POSITIONS = 70  # positions of an image; the released models have 280, and 70 for a frame
_WINDOW = 32  # positions; the released models have 1024

# tokenizer.json and config.json of google/gemma-4-31B-it.
_TOKENS = {
    "<|channel>": 100,
    "<channel|>": 101,
    "<|turn>": 105,
    "<turn|>": 106,
    "<|image>": 255999,
    "<|audio>": 256000,
    "<|image|>": 258880,
    "<|audio|>": 258881,
    "<image|>": 258882,
    "<audio|>": 258883,
    "<|video|>": 258884,
}
_LINE_FEED, _BYTE = 107, 238

_ARRAYS: dict[Modality, tuple[str, str]] = {
    "image": ("pixel_values", "image_position_ids"),
    "video": ("pixel_values_videos", "video_position_ids"),
}
"""Names of the padded patches of every image or frame, and of their coordinates, which are -1 for padding."""


class Gemma4(SyntheticFamily):
    """A tiny Gemma 4 without audio, like the dense model of 31B.

    It has bidirectional attention within an image; layers of full attention have larger heads, and their
    keys are their values.
    """

    name = "gemma4"
    folder = "gemma-4-31B-it"
    model_types = ("gemma4",)
    modalities: ClassVar[tuple[Modality, ...]] = ("image", "video")
    special_ids: ClassVar[Mapping[str, int]] = {**GEMMA_IDS, **_TOKENS}
    generation: ClassVar = {
        "bos_token_id": 2,
        "eos_token_id": [1, 106],
        "pad_token_id": 0,
        "do_sample": True,
        "top_k": 64,
        "top_p": 0.95,
    }
    array_aliases: ClassVar[Mapping[str, str]] = {  # in vLLM
        "pixel_position_ids": "image_position_ids",
        "pixel_position_ids_videos": "video_position_ids",
    }

    def build_model(self) -> Any:
        from transformers import Gemma4Config, Gemma4ForConditionalGeneration

        text = {
            **NARROW_TEXT_SIZES,
            "global_head_dim": 64,
            "num_global_key_value_heads": 2,
            "attention_k_eq_v": True,
            "vocab_size": 262144,
            "hidden_size_per_layer_input": 0,
            "num_hidden_layers": 3,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
            "sliding_window": _WINDOW,
            "final_logit_softcapping": 30.0,
            "use_bidirectional_attention": "vision",
        }
        vision = {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "position_embedding_size": 1024,
            "standardize": True,
        }
        return Gemma4ForConditionalGeneration(
            Gemma4Config(
                text_config=text,
                vision_config=vision,
                audio_config=None,
                eos_token_id=[1, 106],
                tie_word_embeddings=True,
            )
        )

    def build_processor(self) -> Any:
        from transformers import (
            Gemma4AudioFeatureExtractor,
            Gemma4ImageProcessor,
            Gemma4Processor,
            Gemma4VideoProcessor,
        )

        tokenizer = build_gemma_tokenizer(
            _TOKENS,
            262144,
            _LINE_FEED,
            _BYTE,
            extra_special_tokens={
                "image_token": "<|image|>",
                "boi_token": "<|image>",
                "eoi_token": "<image|>",
                "audio_token": "<|audio|>",
                "boa_token": "<|audio>",
                "eoa_token": "<audio|>",
            },
        )
        return Gemma4Processor(
            feature_extractor=Gemma4AudioFeatureExtractor(),
            image_processor=Gemma4ImageProcessor(max_soft_tokens=_MAX_POSITIONS),
            tokenizer=tokenizer,
            video_processor=Gemma4VideoProcessor(),
            image_seq_length=_MAX_POSITIONS,
            # Renders as the template of google/gemma-4-31B-it without tools and with thinking off: texts are
            # trimmed, and an empty thought precedes the answer.
            chat_template=read_template("gemma4"),
        )

    def finish_checkpoint(self, folder: Path) -> None:
        """Add the number of positions of an image, as in released configurations.

        transformers reads the number from the processor.
        """
        path = folder / "config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        config["vision_config"]["default_output_length"] = _MAX_POSITIONS
        config["vision_soft_tokens_per_image"] = _MAX_POSITIONS
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    def get_placeholder_ids(self, config: Mapping[str, Any]) -> dict[Modality, int]:
        return {"image": config["image_token_id"], "video": config["video_token_id"]}

    def locate_spans(
        self,
        config: Mapping[str, Any],
        input_ids: Sequence[int],
        inputs: Mapping[str, Any],
        media: Sequence[MediumInfo],
    ) -> tuple[Span, ...]:
        """Count one position per square of patches, in every frame of a video."""
        patches_per_position = config["vision_config"]["pooling_kernel_size"] ** 2
        counts: dict[Modality, list[int]] = {"image": [], "video": []}
        images = {modality: iter(_split_images(inputs, modality)) for modality in counts}
        for medium in media:
            own = [len(next(images[medium.modality])[0]) for _ in range(medium.frames)]
            counts[medium.modality].append(sum(own) // patches_per_position)
        return assign_spans(input_ids, self.get_placeholder_ids(config), counts, media)

    def split_tower_inputs(
        self,
        config: Mapping[str, Any],
        inputs: Mapping[str, Any],
        spans: Sequence[Span],
    ) -> dict[Modality, list[TowerInput]]:
        """Split patches, without padding; those of all frames of a video are concatenated."""
        images = [[image] for image in _split_images(inputs, "image")]
        frames = _split_images(inputs, "video")
        lengths = np.asarray(inputs.get("num_frames_per_video", [len(frames)])).reshape(-1).tolist()
        ends = np.cumsum([0, *lengths])
        videos = [frames[start:stop] for start, stop in pairwise(ends) if frames]
        media: dict[Modality, list[list[GemmaImage]]] = {"image": images, "video": videos}
        return {
            modality: [_join_frames(item) for item in items] for modality, items in media.items() if items
        }


GemmaImage = tuple[np.ndarray, np.ndarray]
"""Patches, float32 [patches, values of a patch], and their coordinates, int64 [patches, 2]."""


def _split_images(inputs: Mapping[str, Any], modality: Modality) -> list[GemmaImage]:
    """Split the arrays of a modality into images or frames, without padding."""
    pixels, coordinates = _ARRAYS[modality]
    if inputs.get(pixels) is None:
        return []
    patches = np.asarray(inputs[pixels], np.float32)
    patches = patches.reshape(-1, *patches.shape[-2:])
    places = np.asarray(inputs[coordinates]).reshape(len(patches), -1, 2)
    is_patch = np.min(places, axis=-1) >= 0
    return [(image[own], place[own]) for image, place, own in zip(patches, places, is_patch, strict=True)]


def _join_frames(frames: Sequence[GemmaImage]) -> TowerInput:
    sizes = tuple(float(size) for size in frames[0][1].max(axis=0)[::-1] + 1)
    return TowerInput(
        {"frames": (float(len(frames)),), "grid": sizes},
        {"pixel_values": np.concatenate([patches for patches, _ in frames])},
    )
