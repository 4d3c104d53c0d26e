"""MiniCPM-V 4.6: an image is sent whole and in slices of different sizes, before Qwen3.5's language model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, ClassVar

import numpy as np

from vlm_parity.models.families.base import MediumInfo, TowerInput, assign_spans, read_template
from vlm_parity.models.families.qwen3_5 import LINEAR_ATTENTION
from vlm_parity.models.families.synthetic_base import NARROW_TEXT_SIZES, SyntheticFamily
from vlm_parity.models.synthetic.qwen_tokenizer_files import (
    AUDIO_TOKENS,
    CONTROL_TOKENS,
    QWEN3_5,
    SPECIAL,
    THINKING_TOKENS,
    TOOL_TOKENS,
    build_qwen_tokenizer,
)
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span

_SIDE = 224  # a slice may have as many pixels as a square of this side; the released model has 448
_PATCH = 14

_NAMED = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "image_start_token": "<image>",
    "image_end_token": "</image>",
    "slice_start_token": "<slice>",
    "slice_end_token": "</slice>",
    "image_id_start_token": "<image_id>",
    "image_id_end_token": "</image_id>",
}
"""Tokens around slices, by their names in transformers' MiniCPMV4_6Processor."""

# Those that Qwen3.5 lacks follow its own: their ids may differ in the released vocabulary.
_TOKENS = {
    **{token: token in SPECIAL for token in CONTROL_TOKENS + TOOL_TOKENS + THINKING_TOKENS + AUDIO_TOKENS},
    **dict.fromkeys(_NAMED.values(), True),
}

_ARRAYS: dict[Modality, tuple[str, str]] = {
    "image": ("pixel_values", "target_sizes"),
    "video": ("pixel_values_videos", "target_sizes_videos"),
}
"""Names of the pixels of all slices, and of their heights and widths in patches."""


class MiniCPMV46(SyntheticFamily):
    """A tiny MiniCPM-V 4.6 with the processor and the template of the released model."""

    name = "minicpmv4_6"
    model_types = ("minicpmv4_6",)
    modalities: ClassVar[tuple[Modality, ...]] = ("image", "video")
    # Qwen3.5's, as far as they are shared; the last two are defaults in engines that support the model.
    special_ids: ClassVar[Mapping[str, int]] = {
        "<|endoftext|>": 248044,
        "<|im_start|>": 248045,
        "<|im_end|>": 248046,
        "<|image_pad|>": 248056,
        "<|video_pad|>": 248057,
    }
    packed_axes: ClassVar[Mapping[str, int]] = {"pixel_values": -1, "pixel_values_videos": -1}
    array_aliases: ClassVar[Mapping[str, str]] = {  # of vLLM
        "tgt_sizes": "target_sizes",
        "video_pixel_values": "pixel_values_videos",
        "video_tgt_sizes": "target_sizes_videos",
    }
    # vLLM's gated delta net kernels for CPUs accept nothing else.
    dtype = "bfloat16"
    generation: ClassVar = {"eos_token_id": [248046, 248044], "pad_token_id": 248044, "do_sample": True}

    def build_model(self) -> Any:
        from transformers import MiniCPMV4_6Config, MiniCPMV4_6ForConditionalGeneration

        text = {
            **NARROW_TEXT_SIZES,
            **LINEAR_ATTENTION,
            "model_type": "qwen3_5_text",
            "vocab_size": 248320,
            "eos_token_id": 248044,
            "rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.25, "rope_theta": 1e7},
        }
        vision = {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "image_size": _SIDE,
            "patch_size": _PATCH,
        }
        config = MiniCPMV4_6Config(
            text_config=text,
            vision_config=vision,
            insert_layer_id=1,
            image_size=_SIDE,
            image_token_id=248056,
            video_token_id=248057,
            tie_word_embeddings=False,
        )
        return MiniCPMV4_6ForConditionalGeneration(config)

    def build_processor(self) -> Any:
        from transformers import (
            MiniCPMV4_6ImageProcessor,
            MiniCPMV4_6Processor,
            MiniCPMV4_6VideoProcessor,
            PreTrainedTokenizerFast,
        )

        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=build_qwen_tokenizer(_TOKENS, QWEN3_5),
            eos_token="<|im_end|>",
            pad_token="<|endoftext|>",
            extra_special_tokens=_NAMED,
        )
        return MiniCPMV4_6Processor(
            image_processor=MiniCPMV4_6ImageProcessor(scale_resolution=_SIDE),
            tokenizer=tokenizer,
            video_processor=MiniCPMV4_6VideoProcessor(scale_resolution=_SIDE),
            # Renders as the template of openbmb/MiniCPM-V-4.6 without tools: Qwen3.5's, but parts of a
            # message are joined by line feeds, and thinking is off unless requested.
            chat_template=read_template("minicpmv4_6.content", "qwen3_5.turns"),
        )

    def get_placeholder_ids(self, config: Mapping[str, Any]) -> dict[Modality, int]:
        return {"image": config["image_token_id"], "video": config["video_token_id"]}

    def locate_spans(
        self,
        config: Mapping[str, Any],
        input_ids: Sequence[int],
        inputs: Mapping[str, Any],
        media: Sequence[MediumInfo],
    ) -> tuple[Span, ...]:
        """Count an image with its slices, or each frame of a video, after one ``<image>``."""
        placeholders = self.get_placeholder_ids(config)
        images = {
            modality: iter(_split_images(input_ids, placeholder))
            for modality, placeholder in placeholders.items()
        }
        counts: dict[Modality, list[int]] = {modality: [] for modality in placeholders}
        for medium in media:
            own = [next(images[medium.modality], 0) for _ in range(medium.frames)]
            counts[medium.modality].append(sum(own))
        return assign_spans(input_ids, placeholders, counts, media)

    def split_tower_inputs(
        self, config: Mapping[str, Any], inputs: Mapping[str, Any], spans: Sequence[Span]
    ) -> dict[Modality, list[TowerInput]]:
        """Split the concatenated slices of all media; vLLM pads those of one medium to the same length."""
        patches_per_position = 4 if config["downsample_mode"] == "4x" else 16
        media: dict[Modality, list[TowerInput]] = {}
        for modality, (pixels, sizes) in _ARRAYS.items():
            if inputs.get(sizes) is None:
                continue
            grids = np.asarray(inputs[sizes]).reshape(-1, 2)
            slices = iter(zip(grids.tolist(), _split_patches(np.asarray(inputs[pixels]), grids), strict=True))
            media[modality] = [
                _join_slices(slices, span.embedded * patches_per_position)
                for span in spans
                if span.modality == modality
            ]
        return media


def _split_images(input_ids: Sequence[int], placeholder: int) -> Iterator[int]:
    """Yield the number of positions of each image.

    Each run of the placeholder is one slice. An image begins wherever the token before a run is the one
    before the first run of the prompt.
    """
    before, start, count = None, None, 0
    for token, run in groupby(input_ids):
        if token == placeholder:
            start = before if start is None else start
            if before == start and count:
                yield count
                count = 0
            count += len(list(run))
        before = token
    if count:
        yield count


def _split_patches(pixels: np.ndarray, grids: np.ndarray) -> list[np.ndarray]:
    """Return the patches of each slice: float32 [patches, values of a patch].

    Args:
        pixels: [1, channels, side of a patch, width of all patches], or one padded row per slice.
        grids: [slices, 2], height and width in patches.
    """
    channels, side = pixels.shape[1:3]
    counts = grids.prod(axis=1)
    rows = np.split(pixels[0], counts.cumsum()[:-1] * side, axis=-1) if len(pixels) == 1 else list(pixels)
    return [
        row[..., : count * side]
        .reshape(channels, side, count, side)
        .transpose(2, 0, 1, 3)
        .reshape(count, -1)
        .astype(np.float32)
        for row, count in zip(rows, counts.tolist(), strict=True)
    ]


def _join_slices(slices: Iterator[tuple[list[int], np.ndarray]], patches: int) -> TowerInput:
    """Join the next slices, as many as hold the patches of one medium."""
    grids: list[float] = []
    own: list[np.ndarray] = []
    while patches > 0:
        grid, values = next(slices)
        grids += grid
        own.append(values)
        patches -= len(values)
    return TowerInput({"slices": tuple(grids)}, {"pixel_values": np.concatenate(own)})
