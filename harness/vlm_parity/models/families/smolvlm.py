"""SmolVLM2: Idefics3's tiles, with ids for their places, and videos of one tile a frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from vlm_parity.models.families.idefics3 import VISION_SIZES, Idefics3
from vlm_parity.models.synthetic.byte_level_bpe import build_byte_level_tokenizer
from vlm_parity.models.synthetic.synthetic_family import TEXT_SIZES
from vlm_parity.schema.case import Modality

_SIDE = 128  # pixels of a tile; the released models have 512
_PATCH = 16
_SCALE = 4
"""Patches of a side of the squares that become one position."""
_VOCABULARY = 49280
_GRID = 6  # rows and columns that have ids

# Renders as the template of HuggingFaceTB/SmolVLM2-256M-Video-Instruct.
_CHAT_TEMPLATE = """\
{{- '<|im_start|>' -}}
{%- for message in messages -%}
  {{- message['role'] | capitalize -}}
  {{- ':' if message['content'][0]['type'] == 'image' else ': ' -}}
  {%- for line in message['content'] -%}
    {%- if line['type'] == 'text' -%}
      {{- line['text'] -}}
    {%- elif line['type'] == 'image' -%}
      {{- '<image>' -}}
    {%- elif line['type'] == 'video' -%}
      {{- '<video>' -}}
    {%- endif -%}
  {%- endfor -%}
  {{- '<end_of_utterance>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- 'Assistant:' -}}
{%- endif -%}
"""


def _special_ids() -> dict[str, int]:
    """From tokenizer_config.json of HuggingFaceTB/SmolVLM2-256M-Video-Instruct; "<video>" is plain text."""
    places = [f"<row_{row}_col_{column}>" for row in range(1, _GRID + 1) for column in range(1, _GRID + 1)]
    tiles = ["<global-img>", *places, "<fake_token_around_image>", "<image>"]
    return {
        "<|endoftext|>": 0,
        "<|im_start|>": 1,
        "<|im_end|>": 2,
        **{token: 49152 + at for at, token in enumerate(tiles)},
        "<end_of_utterance>": _VOCABULARY - 1,
    }


class SmolVLM(Idefics3):
    """A tiny ``SmolVLMForConditionalGeneration``."""

    name = "smolvlm"
    model_types = ("smolvlm",)
    modalities: ClassVar[tuple[Modality, ...]] = ("image", "video")
    special_ids: ClassVar[Mapping[str, int]] = _special_ids()
    generation: ClassVar[Mapping[str, Any]] = {
        "bos_token_id": 1,
        "eos_token_id": _VOCABULARY - 1,
        "pad_token_id": 2,
    }

    def model(self) -> Any:
        from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

        return SmolVLMForConditionalGeneration(
            SmolVLMConfig(
                text_config={
                    **TEXT_SIZES,
                    "model_type": "llama",
                    "vocab_size": _VOCABULARY,
                    "rope_parameters": {"rope_type": "default", "rope_theta": 1e5},
                    "pad_token_id": 2,
                },
                vision_config={**VISION_SIZES, "image_size": _SIDE, "patch_size": _PATCH},
                image_token_id=self.special_ids["<image>"],
                pad_token_id=2,
                scale_factor=_SCALE,
                tie_word_embeddings=False,
            )
        )

    def processor(self) -> Any:
        from transformers import SmolVLMImageProcessor, SmolVLMProcessor, SmolVLMVideoProcessor

        tokenizer = build_byte_level_tokenizer(
            self.special_ids,
            _VOCABULARY,
            bos_token="<|im_start|>",
            eos_token="<end_of_utterance>",
            pad_token="<|im_end|>",
            extra_special_tokens={
                "end_of_utterance_token": "<end_of_utterance>",
                "fake_image_token": "<fake_token_around_image>",
                "global_image_token": "<global-img>",
                "image_token": "<image>",
            },
        )
        tile = {"longest_edge": _SIDE}
        return SmolVLMProcessor(
            SmolVLMImageProcessor(size={"longest_edge": 4 * _SIDE}, max_image_size=tile),
            tokenizer,
            SmolVLMVideoProcessor(
                max_image_size=tile, video_sampling={"fps": 1, "max_frames": 64, "video_size": tile}
            ),
            image_seq_len=(_SIDE // _PATCH // _SCALE) ** 2,
            chat_template=_CHAT_TEMPLATE,
        )

    def processor_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Videos are counted by prompt, so they are to come in a list a prompt."""
        if "videos" in arguments:
            return {**arguments, "videos": [arguments["videos"]]}
        return arguments
