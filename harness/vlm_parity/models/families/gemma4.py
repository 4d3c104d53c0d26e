"""Gemma 4: pictures keep their shape, frames of a video have their seconds written before them, and heads of
two sizes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vlm_parity.models.families.base import MediumInfo, TowerInput, spans_from_counts
from vlm_parity.models.synthetic.gemma_tokenizer import GEMMA_IDS, build_gemma_tokenizer
from vlm_parity.models.synthetic.synthetic_family import TEXT_SIZES, SyntheticFamily
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span

_MOST = 70  # positions of a picture; the released models have 280, and 70 for a frame
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

# Renders as the template of google/gemma-4-31B-it without tools and with thinking off: texts are trimmed, and
# an empty thought goes before the answer.
_CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
  {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
  {{- '<|turn>' + role + '\\n' -}}
  {%- if message['content'] is string -%}
    {{- message['content'] | trim -}}
  {%- else -%}
    {%- for item in message['content'] -%}
      {%- if item['type'] == 'text' -%}
        {{- item['text'] | trim -}}
      {%- elif item['type'] == 'image' -%}
        {{- '<|image|>' -}}
      {%- elif item['type'] == 'audio' -%}
        {{- '<|audio|>' -}}
      {%- elif item['type'] == 'video' -%}
        {{- '<|video|>' -}}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
  {{- '<turn|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<|turn>model\\n<|channel>thought\\n<channel|>' -}}
{%- endif -%}
"""

_ARRAYS: dict[Modality, tuple[str, str]] = {
    "image": ("pixel_values", "image_position_ids"),
    "video": ("pixel_values_videos", "video_position_ids"),
}
"""Patches of every picture or frame, filled up to one number, and where each patch lies; -1 where none."""


class Gemma4(SyntheticFamily):
    """A tiny Gemma 4 without audio, as the dense model of 31B: a picture's positions see each other in both
    directions, and layers that see everything have larger heads and no values of their own.
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
    aliases: ClassVar[Mapping[str, str]] = {  # in vLLM
        "pixel_position_ids": "image_position_ids",
        "pixel_position_ids_videos": "video_position_ids",
    }

    def model(self) -> Any:
        from transformers import Gemma4Config, Gemma4ForConditionalGeneration

        text = {
            **TEXT_SIZES,
            "head_dim": 32,
            "global_head_dim": 64,
            "num_global_key_value_heads": 1,
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

    def processor(self) -> Any:
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
            image_processor=Gemma4ImageProcessor(max_soft_tokens=_MOST),
            tokenizer=tokenizer,
            video_processor=Gemma4VideoProcessor(),
            image_seq_length=_MOST,
            chat_template=_CHAT_TEMPLATE,
        )

    def finish(self, folder: Path) -> None:
        """Released configurations say how many positions a picture takes; transformers asks its processor."""
        path = folder / "config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        config["vision_config"]["default_output_length"] = _MOST
        config["vision_soft_tokens_per_image"] = _MOST
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    def placeholder_ids(self, config: Mapping[str, Any]) -> dict[Modality, int]:
        return {"image": config["image_token_id"], "video": config["video_token_id"]}

    def spans(
        self,
        config: Mapping[str, Any],
        input_ids: Sequence[int],
        inputs: Mapping[str, Any],
        media: Sequence[MediumInfo],
    ) -> tuple[Span, ...]:
        """One position for a square of patches, in every frame of a video."""
        pooled = config["vision_config"]["pooling_kernel_size"] ** 2
        counts: dict[Modality, list[int]] = {"image": [], "video": []}
        cut = {modality: iter(_split_images(inputs, modality)) for modality in counts}
        for medium in media:
            own = [len(next(cut[medium.modality])[0]) for _ in range(medium.frames)]
            counts[medium.modality].append(sum(own) // pooled)
        return spans_from_counts(
            input_ids, self.placeholder_ids(config), counts, [each.modality for each in media]
        )

    def tower_inputs(
        self,
        config: Mapping[str, Any],
        inputs: Mapping[str, Any],
        spans: Sequence[Span],
    ) -> dict[Modality, list[TowerInput]]:
        """Patches without those that fill up; of a video, those of all frames one behind the other."""
        found: dict[Modality, list[TowerInput]] = {}
        pictures = [[picture] for picture in _split_images(inputs, "image")]
        frames = _split_images(inputs, "video")
        lengths = np.asarray(inputs.get("num_frames_per_video", [len(frames)])).reshape(-1).tolist()
        ends = np.cumsum([0, *lengths])
        videos = [frames[start:stop] for start, stop in pairwise(ends) if frames]
        for modality, media in (("image", pictures), ("video", videos)):
            if media:
                found[modality] = [_drop_padding(medium) for medium in media]  # type: ignore[index]
        return found


GemmaImage = tuple[np.ndarray, np.ndarray]
"""float32 [patches, numbers of a patch], and int64 [patches, 2]: where each lies."""


def _split_images(inputs: Mapping[str, Any], modality: Modality) -> list[GemmaImage]:
    """Of one modality, one a picture or frame, without the patches that fill up."""
    pixels, places = _ARRAYS[modality]
    if inputs.get(pixels) is None:
        return []
    patches = np.asarray(inputs[pixels], np.float32)
    patches = patches.reshape(-1, *patches.shape[-2:])
    where = np.asarray(inputs[places]).reshape(len(patches), -1, 2)
    real = np.min(where, axis=-1) >= 0
    return [(patch[own], place[own]) for patch, place, own in zip(patches, where, real, strict=True)]


def _drop_padding(pictures: Sequence[GemmaImage]) -> TowerInput:
    sizes = tuple(float(size) for size in pictures[0][1].max(axis=0)[::-1] + 1)
    return TowerInput(
        {"frames": (float(len(pictures)),), "grid": sizes},
        {"pixel_values": np.concatenate([patches for patches, _ in pictures])},
    )
