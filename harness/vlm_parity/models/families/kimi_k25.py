"""Kimi K2.5: grids of patches, merged in squares; a video is a sequence of chunks with timestamps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vlm_parity.models.families.base import MediumInfo, TowerInput, assign_spans, read_template
from vlm_parity.models.families.kimi_k25_files import FRAMES_PER_CHUNK, MERGE_SIZE, VIDEO, convert_to_released
from vlm_parity.models.families.synthetic_base import SyntheticFamily
from vlm_parity.models.synthetic.byte_level_bpe import build_byte_level_tokenizer
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span

_VOCABULARY = 163848
"""Ids: the released 163,840 and the placeholder of videos after them, rounded up."""
_WORDS = 32768
"""Ids with a text: more would slow the build down and reveal nothing."""


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
    array_aliases: ClassVar[Mapping[str, str]] = {"grid_thws": "image_grid_thw"}  # in vLLM
    generation: ClassVar[Mapping[str, Any]] = {"eos_token_id": 163586, "pad_token_id": 163839}

    def load_model(self, path: Path, **arguments: Any) -> Any:
        """Load the model and run its experts one by one: grouped matrix products do not support float64."""
        model = super().load_model(path, **arguments)
        model.set_experts_implementation("eager")
        return model

    def build_model(self) -> Any:
        from transformers import Kimi_K25Config, Kimi_K25ForConditionalGeneration

        # vLLM's kernels of multi-head latent attention support only these head sizes and ranks.
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
            "topk_method": "noaux_tc",  # read by vLLM, assumed by transformers
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

    def build_processor(self) -> Any:
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
            # Renders as the template of moonshotai/Kimi-K2.5 without tools, thinking by default.
            chat_template=read_template("kimi_k25"),
        )

    def finish_checkpoint(self, folder: Path) -> None:
        convert_to_released(folder)

    def get_placeholder_ids(self, config: Mapping[str, Any]) -> dict[Modality, int]:
        return {"image": config["image_token_id"], "video": config["video_token_id"]}

    def locate_spans(
        self,
        config: Mapping[str, Any],
        input_ids: Sequence[int],
        inputs: Mapping[str, Any],
        media: Sequence[MediumInfo],
    ) -> tuple[Span, ...]:
        """Count as many positions for a chunk of a video as for one frame."""
        counts: dict[Modality, list[int]] = {
            "image": [_count_merged_patches(grid) for grid in _get_grids(inputs, "image_grid_thw")],
            "video": [],
        }
        chunks = iter(_get_grids(inputs, "video_grid_thw"))
        for medium in media:
            if medium.modality == "video":
                own = [next(chunks) for _ in range(_count_chunks(medium.frames))]
                counts["video"].append(sum(map(_count_merged_patches, own)))
        return assign_spans(input_ids, self.get_placeholder_ids(config), counts, media)

    def split_tower_inputs(
        self,
        config: Mapping[str, Any],
        inputs: Mapping[str, Any],
        spans: Sequence[Span],
    ) -> dict[Modality, list[TowerInput]]:
        """Split flattened patches; those of all chunks of a video are concatenated."""
        media: dict[Modality, list[TowerInput]] = {}
        if inputs.get("image_grid_thw") is not None:
            grids = _get_grids(inputs, "image_grid_thw")
            media["image"] = _split_pixels(inputs["pixel_values"], [[grid] for grid in grids])
        if inputs.get("video_grid_thw") is not None:
            chunks = iter(_get_grids(inputs, "video_grid_thw"))
            counts = [len(span.runs) for span in spans if span.modality == "video"]
            own = [[next(chunks) for _ in range(count)] for count in counts]
            media["video"] = _split_pixels(inputs["pixel_values_videos"], own)
        return media


def _get_grids(inputs: Mapping[str, Any], name: str) -> list[list[int]]:
    grids = inputs.get(name)
    return [] if grids is None else np.asarray(grids).reshape(-1, 3).tolist()


def _count_merged_patches(grid: Sequence[int]) -> int:
    return grid[1] * grid[2] // MERGE_SIZE**2


def _count_chunks(frames: int) -> int:
    return -(-frames // FRAMES_PER_CHUNK)


def _split_pixels(pixels: Any, grids: Sequence[Sequence[Sequence[int]]]) -> list[TowerInput]:
    """Split patches by media, each of which has one grid or more."""
    rows = np.asarray(pixels, np.float32)
    rows = rows.reshape(len(rows), -1)
    ends = np.cumsum([sum(int(np.prod(grid)) for grid in own) for own in grids])
    return [
        TowerInput({"grid": tuple(float(size) for grid in own for size in grid)}, {"pixel_values": patches})
        for own, patches in zip(grids, np.split(rows, ends[:-1]), strict=True)
    ]
