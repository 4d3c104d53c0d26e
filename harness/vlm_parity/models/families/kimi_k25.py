"""Kimi K2.5: grids of patches merged by squares; a video is a row of chunks, each with its time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vlm_parity.models.families.base import MediumInfo, TowerInput, spans_from_counts
from vlm_parity.models.families.kimi_k25_files import (
    CHAT_TEMPLATE,
    FRAMES_OF_A_CHUNK,
    MERGED,
    VIDEO,
    convert_to_released,
)
from vlm_parity.models.synthetic.byte_level_bpe import build_byte_level_tokenizer
from vlm_parity.models.synthetic.synthetic_family import SyntheticFamily
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span

_VOCABULARY = 163848
"""Ids: the released 163,840, and the video's beyond them, rounded up."""
_WORDS = 32768
"""Ids with a text: the rest would make building slow and find nothing more."""


class KimiK25(SyntheticFamily):
    """A tiny Kimi K2.5 around DeepSeek V3's language model."""

    name = "kimi_k25"
    model_types = ("kimi_k25",)
    modalities: ClassVar[tuple[Modality, ...]] = ("image", "video")
    # transformers' Kimi_K25Config (media and video) and tokenizer_config.json of moonshotai/Kimi-K2.5.
    special_ids: ClassVar[Mapping[str, int]] = {
        "[BOS]": 163584,
        "[EOS]": 163585,
        "<|im_end|>": 163586,
        "<|im_user|>": 163587,
        "<|im_assistant|>": 163588,
        "<|im_system|>": 163594,
        "<|im_middle|>": 163601,
        "<|media_begin|>": 163602,
        "<|media_content|>": 163603,
        "<|media_end|>": 163604,
        "<|media_pad|>": 163605,
        "<think>": 163606,
        "</think>": 163607,
        "[UNK]": 163838,
        "[PAD]": 163839,
        VIDEO: 163840,
    }
    aliases: ClassVar[Mapping[str, str]] = {"grid_thws": "image_grid_thw"}  # in vLLM
    generation: ClassVar[Mapping[str, Any]] = {"eos_token_id": 163586, "pad_token_id": 163839}

    def load_model(self, path: Path, **arguments: Any) -> Any:
        """Expert by expert: the grouped products that transformers prefers take no float64."""
        model = super().load_model(path, **arguments)
        model.set_experts_implementation("eager")
        return model

    def model(self) -> Any:
        from transformers import Kimi_K25Config, Kimi_K25ForConditionalGeneration

        # vLLM's attention with latent keys has these sizes of heads and ranks written into its kernels.
        text = {
            "model_type": "deepseek_v3",
            "vocab_size": _VOCABULARY,
            "hidden_size": 64,
            "intermediate_size": 128,
            "moe_intermediate_size": 32,
            "num_hidden_layers": 2,
            "first_k_dense_replace": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_shared_experts": 1,
            "n_group": 1,
            "topk_group": 1,
            "topk_method": "noaux_tc",  # which vLLM reads and transformers takes for granted
            "scoring_func": "sigmoid",
            "kv_lora_rank": 512,
            "q_lora_rank": 32,
            "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
            "max_position_embeddings": 32768,
            "bos_token_id": 163584,
            "eos_token_id": 163585,
            "pad_token_id": 163839,
            "tie_word_embeddings": False,
        }
        vision = {
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "pos_emb_height": 16,
            "pos_emb_width": 16,
        }
        return Kimi_K25ForConditionalGeneration(
            Kimi_K25Config(
                text_config=text,
                vision_config=vision,
                projection_hidden_size=64,
                media_placeholder_token_id=self.special_ids["<|media_pad|>"],
                use_unified_vision_chunk=True,
                video_placeholder=VIDEO,
                tie_word_embeddings=False,
            )
        )

    def processor(self) -> Any:
        from transformers import Kimi_K25ImageProcessor, Kimi_K25Processor, Kimi_K25VideoProcessor

        tokenizer = build_byte_level_tokenizer(
            self.special_ids,
            _VOCABULARY,
            _WORDS,
            bos_token="[BOS]",
            eos_token="[EOS]",
            pad_token="[PAD]",
            unk_token="[UNK]",
        )
        return Kimi_K25Processor(
            image_processor=Kimi_K25ImageProcessor(),
            tokenizer=tokenizer,
            video_processor=Kimi_K25VideoProcessor(),
            chat_template=CHAT_TEMPLATE,
        )

    def finish(self, folder: Path) -> None:
        convert_to_released(folder)

    def placeholder_ids(self, config: Mapping[str, Any]) -> dict[Modality, int]:
        return {"image": config["image_token_id"], "video": config["video_token_id"]}

    def spans(
        self,
        config: Mapping[str, Any],
        input_ids: Sequence[int],
        inputs: Mapping[str, Any],
        media: Sequence[MediumInfo],
    ) -> tuple[Span, ...]:
        """A chunk of a video takes as many positions as one frame."""
        counts: dict[Modality, list[int]] = {
            "image": [_merge_grid(grid) for grid in _grids(inputs, "image_grid_thw")],
            "video": [],
        }
        chunks = iter(_grids(inputs, "video_grid_thw"))
        for medium in media:
            if medium.modality == "video":
                own = [next(chunks) for _ in range(_split_chunks(medium.frames))]
                counts["video"].append(sum(map(_merge_grid, own)))
        return spans_from_counts(
            input_ids, self.placeholder_ids(config), counts, [each.modality for each in media]
        )

    def tower_inputs(
        self,
        config: Mapping[str, Any],
        inputs: Mapping[str, Any],
        spans: Sequence[Span],
    ) -> dict[Modality, list[TowerInput]]:
        """Patches in rows; of a video those of all its chunks, one behind the other."""
        found: dict[Modality, list[TowerInput]] = {}
        if inputs.get("image_grid_thw") is not None:
            grids = _grids(inputs, "image_grid_thw")
            found["image"] = _split_pixels(inputs["pixel_values"], [[grid] for grid in grids])
        if inputs.get("video_grid_thw") is not None:
            chunks = iter(_grids(inputs, "video_grid_thw"))
            counts = [len(span.runs) for span in spans if span.modality == "video"]
            own = [[next(chunks) for _ in range(count)] for count in counts]
            found["video"] = _split_pixels(inputs["pixel_values_videos"], own)
        return found


def _grids(inputs: Mapping[str, Any], name: str) -> list[list[int]]:
    found = inputs.get(name)
    return [] if found is None else np.asarray(found).reshape(-1, 3).tolist()


def _merge_grid(grid: Sequence[int]) -> int:
    return grid[1] * grid[2] // MERGED**2


def _split_chunks(frames: int) -> int:
    return -(-frames // FRAMES_OF_A_CHUNK)


def _split_pixels(pixels: Any, grids: Sequence[Sequence[Sequence[int]]]) -> list[TowerInput]:
    """Deals patches out to media that have one grid or more."""
    rows = np.asarray(pixels, np.float32)
    rows = rows.reshape(len(rows), -1)
    ends = np.cumsum([sum(int(np.prod(grid)) for grid in own) for own in grids])
    return [
        TowerInput({"grid": tuple(float(size) for grid in own for size in grid)}, {"pixel_values": patches})
        for own, patches in zip(grids, np.split(rows, ends[:-1]), strict=True)
    ]
