"""MiniCPM-V 4.6: a picture is sent whole and in slices, each of a size of its own; Qwen3.5 behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, ClassVar

import numpy as np

from vlm_parity.models.families.base import MediumInfo, TowerInput, spans_from_counts
from vlm_parity.models.families.qwen3_5 import LINEAR_ATTENTION, TURNS
from vlm_parity.models.synthetic.qwen_tokenizer_files import (
    AUDIO_TOKENS,
    CONTROL_TOKENS,
    QWEN3_5,
    SPECIAL,
    THINKING_TOKENS,
    TOOL_TOKENS,
    build_qwen_tokenizer,
)
from vlm_parity.models.synthetic.synthetic_family import TEXT_SIZES, SyntheticFamily
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span

_SIDE = 224  # pixels squared that one slice may have; the released model has 448
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
"""The names of transformers' MiniCPMV4_6Processor for what it writes around the slices."""

# Those that Qwen3.5 does not have stand behind its own: in the released vocabulary their ids may be others.
_TOKENS = {
    **{token: token in SPECIAL for token in CONTROL_TOKENS + TOOL_TOKENS + THINKING_TOKENS + AUDIO_TOKENS},
    **dict.fromkeys(_NAMED.values(), True),
}

# Renders as the template of openbmb/MiniCPM-V-4.6 does without tools: Qwen3.5's, but that the parts of
# a message are joined by line feeds, and that nothing is thought if nobody asks for it.
_CHAT_TEMPLATE = (
    """\
{%- if enable_thinking is not defined -%}{%- set enable_thinking = false -%}{%- endif -%}
{%- macro written(content, in_system) -%}
  {%- if content is string -%}
    {{- content -}}
  {%- elif content -%}
    {%- for part in content -%}
      {%- if in_system and (part.type in ['image', 'video'] or 'image_url' in part) -%}
        {{- raise_exception('System message cannot contain images or videos.') -}}
      {%- elif part.type == 'image' or 'image' in part or 'image_url' in part -%}
        {{- '<|image_pad|>' -}}
      {%- elif part.type == 'video' or 'video' in part -%}
        {{- '<|video_pad|>' -}}
      {%- elif 'text' in part -%}
        {{- part.text -}}
      {%- else -%}
        {{- raise_exception('Unexpected item type in content.') -}}
      {%- endif -%}
      {%- if not loop.last -%}{{- '\\n' -}}{%- endif -%}
    {%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
"""
    + TURNS
)

_ARRAYS: dict[Modality, tuple[str, str]] = {
    "image": ("pixel_values", "target_sizes"),
    "video": ("pixel_values_videos", "target_sizes_videos"),
}
"""Pixels of all slices, and the height and width of each in patches."""


class MiniCPMV46(SyntheticFamily):
    """A tiny MiniCPM-V 4.6 with the processor and the template of the released model."""

    name = "minicpmv4_6"
    model_types = ("minicpmv4_6",)
    modalities: ClassVar[tuple[Modality, ...]] = ("image", "video")
    # Qwen3.5's, as far as the two share them; engines that know the model have the last two as defaults.
    special_ids: ClassVar[Mapping[str, int]] = {
        "<|endoftext|>": 248044,
        "<|im_start|>": 248045,
        "<|im_end|>": 248046,
        "<|image_pad|>": 248056,
        "<|video_pad|>": 248057,
    }
    packed_axes: ClassVar[Mapping[str, int]] = {"pixel_values": -1, "pixel_values_videos": -1}
    aliases: ClassVar[Mapping[str, str]] = {  # of vLLM
        "tgt_sizes": "target_sizes",
        "video_pixel_values": "pixel_values_videos",
        "video_tgt_sizes": "target_sizes_videos",
    }
    # vLLM's kernels of gated delta nets for a CPU take nothing else.
    dtype = "bfloat16"
    generation: ClassVar = {"eos_token_id": [248046, 248044], "pad_token_id": 248044, "do_sample": True}

    def model(self) -> Any:
        from transformers import MiniCPMV4_6Config, MiniCPMV4_6ForConditionalGeneration

        text = {
            **TEXT_SIZES,
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

    def processor(self) -> Any:
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
            chat_template=_CHAT_TEMPLATE,
        )

    def placeholder_ids(self, config: Mapping[str, Any]) -> dict[Modality, int]:
        return {"image": config["image_token_id"], "video": config["video_token_id"]}

    def spans(
        self,
        config: Mapping[str, Any],
        input_ids: Sequence[int],
        inputs: Mapping[str, Any],
        media: Sequence[MediumInfo],
    ) -> tuple[Span, ...]:
        """A picture lies behind one ``<image>``, with its slices, and so does each frame of a video."""
        placeholders = self.placeholder_ids(config)
        pictures = {
            modality: iter(_split_images(input_ids, placeholder))
            for modality, placeholder in placeholders.items()
        }
        counts: dict[Modality, list[int]] = {modality: [] for modality in placeholders}
        for medium in media:
            own = [next(pictures[medium.modality], 0) for _ in range(medium.frames)]
            counts[medium.modality].append(sum(own))
        return spans_from_counts(input_ids, placeholders, counts, [medium.modality for medium in media])

    def tower_inputs(
        self, config: Mapping[str, Any], inputs: Mapping[str, Any], spans: Sequence[Span]
    ) -> dict[Modality, list[TowerInput]]:
        """Slices of all media, one behind the other; vLLM pads those of one medium to the same length."""
        merged = 4 if config["downsample_mode"] == "4x" else 16
        found: dict[Modality, list[TowerInput]] = {}
        for modality, (pixels, sizes) in _ARRAYS.items():
            if inputs.get(sizes) is None:
                continue
            grids = np.asarray(inputs[sizes]).reshape(-1, 2)
            slices = iter(zip(grids.tolist(), _patches(np.asarray(inputs[pixels]), grids), strict=True))
            found[modality] = [
                _tower_input(slices, span.embedded * merged) for span in spans if span.modality == modality
            ]
        return found


def _split_images(input_ids: Sequence[int], placeholder: int) -> Iterator[int]:
    """How many positions each picture takes: the runs of its placeholder, the first of them behind the
    token that stands before the first of all.
    """
    before, start, taken = None, None, 0
    for token, run in groupby(input_ids):
        if token == placeholder:
            start = before if start is None else start
            if before == start and taken:
                yield taken
                taken = 0
            taken += len(list(run))
        before = token
    if taken:
        yield taken


def _patches(pixels: np.ndarray, grids: np.ndarray) -> list[np.ndarray]:
    """Of each slice float32 [patches, values of a patch].

    Args:
        pixels: [1, channels, side of a patch, width of all patches], or a row for each slice, padded.
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


def _tower_input(slices: Iterator[tuple[list[int], np.ndarray]], patches: int) -> TowerInput:
    """Takes as many slices as hold the patches of one medium."""
    grids: list[float] = []
    own: list[np.ndarray] = []
    while patches > 0:
        grid, values = next(slices)
        grids += grid
        own.append(values)
        patches -= len(values)
    return TowerInput({"slices": tuple(grids)}, {"pixel_values": np.concatenate(own)})
