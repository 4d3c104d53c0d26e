"""What the Qwen omni families share: a thinker that sees, hears and reads.

The talker, which speaks, is left out: no engine is asked to speak here.
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
from vlm_parity.models.synthetic.byte_level_bpe import build_byte_level_tokenizer
from vlm_parity.models.synthetic.qwen_tokenizer_files import RANKS
from vlm_parity.models.synthetic.synthetic_family import TEXT_SIZES, SyntheticFamily
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span

VOCABULARY = 152064
"""Ids that the released thinkers' embeddings have; transformers' Qwen2_5OmniTextConfig."""
TEXT = {**TEXT_SIZES, "vocab_size": VOCABULARY, "tie_word_embeddings": False}
AUDIO = {
    "d_model": 32,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "encoder_layers": 2,
    "num_mel_bins": 128,
    "output_dim": 64,
}
"""Of a tiny audio encoder."""
# Renders messages as the released templates do, without tools; the two differ in what a message looks like.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
  @HEAD@
  {{- '<|im_start|>' + message['role'] + '\\n' -}}
  {%- if message['content'] is string -%}
    {{- message['content'] -}}
  {%- else -%}
    {%- for content in message['content'] -%}
      {%- if content['type'] == 'image' or 'image' in content or 'image_url' in content -%}
        {{- '@IMAGE@' -}}
      {%- elif content['type'] == 'audio' or 'audio' in content or 'audio_url' in content -%}
        {{- '@AUDIO@' -}}
      {%- elif content['type'] == 'video' or 'video' in content -%}
        {{- '@VIDEO@' -}}
      {%- elif 'text' in content -%}
        {{- content['text'] -}}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
  {{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


class QwenOmniFamily(GridFamily, SyntheticFamily):
    """A thinker: patches of pictures and videos, mel frames of sounds, each with an id of its own."""

    modalities: ClassVar[tuple[Modality, ...]] = ("image", "video", "audio")
    aliases: ClassVar[Mapping[str, str]] = {
        "input_audio_features": "input_features",  # in vLLM
        "second_per_grid_ts": "video_second_per_grid",  # in vLLM
        "second_per_grid": "video_second_per_grid",  # in LMDeploy
    }
    model_options = ("use_audio_in_video",)
    tokens: ClassVar[tuple[str, ...]]
    """What follows Qwen's words in the released vocabulary, in order."""
    named_tokens: ClassVar[Mapping[str, str]]
    """What the processor asks the tokenizer for: ``audio_token`` and so on."""
    default_system: ClassVar[str] = ""
    """What the template says where the conversation does not begin with a system message."""

    @property
    @abstractmethod
    def thinker(self) -> Any:
        """The transformers class of the thinker."""

    @abstractmethod
    def audio_positions(self, frames: int) -> int:
        """How many embedded positions a sound of so many mel frames takes."""

    def load_model(self, path: Path, **arguments: Any) -> Any:
        return self.thinker.from_pretrained(path, **arguments)

    def empty_model(self, path: Path, **arguments: Any) -> Any:
        return self.thinker(self.thinker.config_class.from_pretrained(path, **arguments))

    def tokenizer(self) -> Any:
        """A tokenizer with the released ids and as many words as Qwen has."""
        ids = {token: RANKS + place for place, token in enumerate(self.tokens)}
        return build_byte_level_tokenizer(
            ids,
            RANKS + len(ids),
            eos_token="<|im_end|>",
            pad_token="<|endoftext|>",
            extra_special_tokens=dict(self.named_tokens),
        )

    def chat_template(self) -> str:
        """Jinja."""
        names = self.named_tokens
        vision = names["vision_bos_token"] + "{}" + names["vision_eos_token"]
        system = "<|im_start|>system\\n" + self.default_system + "<|im_end|>\\n"
        head = "{%- if loop.first and message['role'] != 'system' -%}{{- '" + system + "' -}}{%- endif -%}"
        return (
            CHAT_TEMPLATE.replace("  @HEAD@\n", f"  {head}\n" if self.default_system else "")
            .replace("@IMAGE@", vision.format(names["image_token"]))
            .replace("@VIDEO@", vision.format(names["video_token"]))
            .replace("@AUDIO@", names["audio_bos_token"] + names["audio_token"] + names["audio_eos_token"])
        )

    def placeholder_ids(self, config: Mapping[str, Any]) -> dict[Modality, int]:
        thinker = config["thinker_config"]
        return {
            modality: thinker.get(f"{modality}_token_id", thinker.get(f"{modality}_token_index"))
            for modality in self.modalities
        }

    def feature_counts(
        self, config: Mapping[str, Any], inputs: Mapping[str, Any]
    ) -> dict[Modality, list[int]]:
        counts = super().feature_counts(config["thinker_config"], inputs)
        return {**counts, "audio": [self.audio_positions(len(frames)) for frames in _split_audio(inputs)]}

    def spans(
        self,
        config: Mapping[str, Any],
        input_ids: Sequence[int],
        inputs: Mapping[str, Any],
        media: Sequence[MediumInfo],
    ) -> tuple[Span, ...]:
        """The sound of a video is one like others, behind its video."""
        sounding = [[medium, MediumInfo("audio")] if medium.has_audio_track else [medium] for medium in media]
        return super().spans(config, input_ids, inputs, [*chain.from_iterable(sounding)])

    def tower_inputs(
        self, config: Mapping[str, Any], inputs: Mapping[str, Any], spans: Sequence[Span]
    ) -> dict[Modality, list[TowerInput]]:
        """Of a sound: ``input_features``, float32 [mel frames, mel bins], without what it was padded with."""
        found = super().tower_inputs(config, inputs, spans)
        if "video" in found:
            found["video"] = add_seconds_per_grid(found["video"], inputs.get("video_second_per_grid"))
        sounds = [TowerInput({}, {"input_features": frames}) for frames in _split_audio(inputs)]
        return {**found, "audio": sounds} if sounds else found

    def processor_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Which sound is of which video is told from transformers 5.23 on; before, it is their order."""
        from transformers import processing_utils

        if hasattr(processing_utils, "OmniModalProcessorMixin"):
            return arguments
        return {name: value for name, value in arguments.items() if name != "audio_from_video_indices"}

    def processor_options(self, media: Sequence[MediumInfo]) -> dict[str, Any]:
        """The processors take the time between frames from ``fps`` alone, never from a video's metadata, and
        one for all; sources: Qwen2_5OmniProcessor, Qwen3OmniMoeProcessor. Of a file it is not known.

        Raises:
            ValueError: the videos' rates differ.
        """
        videos = [medium for medium in media if medium.modality == "video" and medium.fps]
        if not videos:
            return {}
        rates = sorted({video.fps for video in videos})
        if len(rates) > 1:
            raise ValueError(f"an omni processor takes one frame rate a request, and the videos have {rates}")
        heard = {"use_audio_in_video": True} if any(video.has_audio_track for video in videos) else {}
        return {"fps": rates[0], **heard}

    def positions(self, model: Any, inputs: Mapping[str, Any]) -> np.ndarray:
        mask = inputs.get("feature_attention_mask")
        found, _ = model.get_rope_index(
            inputs["input_ids"],
            inputs.get("image_grid_thw"),
            inputs.get("video_grid_thw"),
            inputs["attention_mask"],
            use_audio_in_video=bool(inputs.get("use_audio_in_video")),
            audio_seqlens=None if mask is None else mask.sum(-1),
            second_per_grids=inputs.get("video_second_per_grid"),
        )
        array: np.ndarray = found[:, 0].cpu().numpy()
        whole = array.astype(np.int64)
        return whole if (whole == array).all() else array.astype(np.float64)


def _split_audio(inputs: Mapping[str, Any]) -> Iterator[np.ndarray]:
    """The mel frames of each sound, without padding: float32 [frames, bins].

    Processors return [sounds, bins, padded frames] with a mask; vLLM cuts to [bins, frames] by itself.
    """
    features = inputs.get("input_features")
    if features is None:
        return
    array = np.asarray(features, np.float32)
    if array.ndim == 2:
        yield array.T
        return
    for each, mask in zip(array, np.asarray(inputs["feature_attention_mask"]), strict=True):
        yield each[:, mask.astype(bool)].T
