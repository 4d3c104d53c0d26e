"""SmolVLM2: Idefics3's tiles, with ids for their rows and columns, and videos of one tile a frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from vlm_parity.models.families.base import read_template
from vlm_parity.models.families.idefics3 import VISION_SIZES, Idefics3
from vlm_parity.models.families.synthetic_base import TEXT_SIZES
from vlm_parity.models.synthetic.byte_level_bpe import build_byte_level_tokenizer
from vlm_parity.schema.case import Modality

_SIDE = 128  # pixels of a tile; the released models have 512
_PATCH = 16
_SCALE = 4
"""Side, in patches, of the squares that become one position."""
_VOCABULARY = 49280
_GRID = 6  # rows and columns that have ids


def _build_special_ids() -> dict[str, int]:
    """Return the ids from tokenizer_config.json of HuggingFaceTB/SmolVLM2-256M-Video-Instruct.

    ``<video>`` is plain text there.
    """
    places = [f"<row_{row}_col_{column}>" for row in range(1, _GRID + 1) for column in range(1, _GRID + 1)]
    tiles = ["<global-img>", *places, "<fake_token_around_image>", "<image>"]
    return {
        "<|endoftext|>": 0,
        "<|im_start|>": 1,
        "<|im_end|>": 2,
        **{token: 49152 + index for index, token in enumerate(tiles)},
        "<end_of_utterance>": _VOCABULARY - 1,
    }


class SmolVLM(Idefics3):
    """A tiny ``SmolVLMForConditionalGeneration``."""

    name = "smolvlm"
    model_types = ("smolvlm",)
    modalities: ClassVar[tuple[Modality, ...]] = ("image", "video")
    special_ids: ClassVar[Mapping[str, int]] = _build_special_ids()
    generation: ClassVar[Mapping[str, Any]] = {
        "bos_token_id": 1,
        "eos_token_id": _VOCABULARY - 1,
        "pad_token_id": 2,
    }

    def build_model(self) -> Any:
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

    def build_processor(self) -> Any:
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
            # Renders as the template of HuggingFaceTB/SmolVLM2-256M-Video-Instruct.
            chat_template=read_template("smolvlm"),
        )

    def adapt_processor_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Nest the videos as those of one prompt: the processor counts them by prompt."""
        if "videos" in arguments:
            return {**arguments, "videos": [arguments["videos"]]}
        return arguments
