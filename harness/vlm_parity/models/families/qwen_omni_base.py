"""Qwen's omni families: a thinker with images, videos, audio and text as inputs.

The talker, which generates speech, is left out: no test runs it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vlm_parity.models.families.base import MediumInfo, TowerInput
from vlm_parity.models.families.grid_base import GridFamily, add_seconds_per_grid
from vlm_parity.models.families.synthetic_base import TEXT_SIZES, SyntheticFamily
from vlm_parity.models.synthetic.byte_level_bpe import build_byte_level_tokenizer
from vlm_parity.models.synthetic.qwen_tokenizer_files import RANKS
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span

VOCABULARY = 152064
"""Number of ids in the embeddings of the released thinkers; transformers' Qwen2_5OmniTextConfig."""
TEXT = {**TEXT_SIZES, "vocab_size": VOCABULARY, "tie_word_embeddings": False}
AUDIO = {
    "d_model": 32,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "encoder_layers": 2,
    "num_mel_bins": 128,
    "output_dim": TEXT["hidden_size"],
}
"""Sizes of a tiny audio encoder."""


class QwenOmniFamily(GridFamily, SyntheticFamily):
    """A family of thinkers: patches of images and videos, mel frames of audio, one placeholder each."""

    modalities: ClassVar[tuple[Modality, ...]] = ("image", "video", "audio")
    array_aliases: ClassVar[Mapping[str, str]] = {
        "input_audio_features": "input_features",  # in vLLM
        "second_per_grid_ts": "video_second_per_grid",  # in vLLM
        "second_per_grid": "video_second_per_grid",  # in LMDeploy
    }
    model_options = ("use_audio_in_video",)
    tokens: ClassVar[tuple[str, ...]]
    """Special tokens after Qwen's words in the released vocabulary, in order."""
    named_tokens: ClassVar[Mapping[str, str]]
    """Tokens by the names under which the processor requests them: ``audio_token`` and so on."""
    chat_template: ClassVar[str]

    @property
    @abstractmethod
    def thinker_class(self) -> Any:
        """Class of the thinker in transformers."""

    @abstractmethod
    def count_audio_positions(self, frames: int) -> int:
        """Return the number of embedded positions of an audio input with this number of mel frames."""

    def load_model(self, path: Path, **arguments: Any) -> Any:
        return self.thinker_class.from_pretrained(path, **arguments)

    def build_empty_model(self, path: Path, **arguments: Any) -> Any:
        return self.thinker_class(self.thinker_class.config_class.from_pretrained(path, **arguments))

    def build_tokenizer(self) -> Any:
        """Build a tokenizer with the released ids and all of Qwen's words."""
        ids = {token: RANKS + index for index, token in enumerate(self.tokens)}
        return build_byte_level_tokenizer(
            ids,
            RANKS + len(ids),
            eos_token="<|im_end|>",
            pad_token="<|endoftext|>",
            extra_special_tokens=dict(self.named_tokens),
        )

    def get_placeholder_ids(self, config: Mapping[str, Any]) -> dict[Modality, int]:
        thinker = config["thinker_config"]
        return {
            modality: thinker.get(f"{modality}_token_id", thinker.get(f"{modality}_token_index"))
            for modality in self.modalities
        }

    def count_features_by_modality(
        self, config: Mapping[str, Any], inputs: Mapping[str, Any]
    ) -> dict[Modality, list[int]]:
        counts = super().count_features_by_modality(config["thinker_config"], inputs)
        return {
            **counts,
            "audio": [self.count_audio_positions(len(frames)) for frames in _split_audio(inputs)],
        }

    def locate_spans(
        self,
        config: Mapping[str, Any],
        input_ids: Sequence[int],
        inputs: Mapping[str, Any],
        media: Sequence[MediumInfo],
    ) -> tuple[Span, ...]:
        """Count the audio track of a video as an audio of its own, after the video."""
        expanded = [[medium, MediumInfo("audio")] if medium.has_audio_track else [medium] for medium in media]
        return super().locate_spans(config, input_ids, inputs, [*chain.from_iterable(expanded)])

    def split_tower_inputs(
        self, config: Mapping[str, Any], inputs: Mapping[str, Any], spans: Sequence[Span]
    ) -> dict[Modality, list[TowerInput]]:
        """Split audio as well: ``input_features``, float32 [mel frames, mel bins], without padding."""
        media = super().split_tower_inputs(config, inputs, spans)
        if "video" in media:
            media["video"] = add_seconds_per_grid(media["video"], inputs.get("video_second_per_grid"))
        audio = [TowerInput({}, {"input_features": frames}) for frames in _split_audio(inputs)]
        return {**media, "audio": audio} if audio else media

    def adapt_processor_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Drop ``audio_from_video_indices`` before transformers 5.23.

        Earlier releases pair audio and videos by their order.
        """
        from transformers import processing_utils

        if hasattr(processing_utils, "OmniModalProcessorMixin"):
            return arguments
        return {name: value for name, value in arguments.items() if name != "audio_from_video_indices"}

    def get_processor_options(self, media: Sequence[MediumInfo]) -> dict[str, Any]:
        """Return the frame rate, which videos in files lack, and ``use_audio_in_video`` if one has audio.

        The processors derive the time between frames from ``fps`` alone, one for all videos, never from
        their metadata. Sources: Qwen2_5OmniProcessor, Qwen3OmniMoeProcessor.

        Raises:
            ValueError: the videos' rates differ.
        """
        videos = [medium for medium in media if medium.modality == "video" and medium.fps]
        if not videos:
            return {}
        rates = sorted({video.fps for video in videos})
        if len(rates) > 1:
            raise ValueError(f"an omni processor takes one frame rate a request, and the videos have {rates}")
        audio = {"use_audio_in_video": True} if any(video.has_audio_track for video in videos) else {}
        return {"fps": rates[0], **audio}

    def compute_positions(self, model: Any, inputs: Mapping[str, Any]) -> np.ndarray:
        mask = inputs.get("feature_attention_mask")
        positions, _ = model.get_rope_index(
            inputs["input_ids"],
            inputs.get("image_grid_thw"),
            inputs.get("video_grid_thw"),
            inputs["attention_mask"],
            use_audio_in_video=bool(inputs.get("use_audio_in_video")),
            audio_seqlens=None if mask is None else mask.sum(-1),
            second_per_grids=inputs.get("video_second_per_grid"),
        )
        array: np.ndarray = positions[:, 0].cpu().numpy()
        integers = array.astype(np.int64)
        return integers if (integers == array).all() else array.astype(np.float64)


def _split_audio(inputs: Mapping[str, Any]) -> Iterator[np.ndarray]:
    """Yield the mel frames of each audio input, without padding: float32 [frames, bins].

    Processors return [items, bins, padded frames] with a mask; vLLM itself cuts them to [bins, frames].
    """
    features = inputs.get("input_features")
    if features is None:
        return
    array = np.asarray(features, np.float32)
    if array.ndim == 2:  # noqa: PLR2004
        yield array.T
        return
    for item, mask in zip(array, np.asarray(inputs["feature_attention_mask"]), strict=True):
        yield item[:, mask.astype(bool)].T
