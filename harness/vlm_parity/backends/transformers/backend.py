"""The reference: native transformers, used as in its documentation."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from vlm_parity.backends.base import Inputs, Outputs, ReferenceBackend, Request
from vlm_parity.backends.common.chat_template import (
    build_conversation,
    build_video_metadata,
    render_changed_prompts,
    render_chat,
    starts_with_bos,
)
from vlm_parity.backends.common.frame_sampling import add_frame_sampling
from vlm_parity.backends.common.processor_kwargs import build_processor_kwargs, collect_medium_info
from vlm_parity.backends.common.token_text import decode_token_texts
from vlm_parity.backends.common.tower_inputs import TowerInputs, sort_by_spans
from vlm_parity.backends.transformers.media_files import VideoFileReader, write_media_files
from vlm_parity.backends.transformers.model import TransformersModel
from vlm_parity.media.load import DecodedAudio, DecodedVideo, EncodedMedium, Image, Media
from vlm_parity.media.resample import resample_audio
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.families.base import build_empty_auto_model, compute_rope_positions
from vlm_parity.models.registry import FAMILIES, load_family
from vlm_parity.models.required_files import describe_remote_code
from vlm_parity.schema.engine_setup import Depth, Dtype
from vlm_parity.schema.location import Location
from vlm_parity.schema.trace import Stage
from vlm_parity.util.errors import UnsupportedError

GPU_KERNELS = ("fla", "causal_conv1d")
"""Packages from which transformers takes kernels for linear attention if they are installed."""
ATTENTION_IMPLEMENTATIONS = ("eager", "sdpa")
"""The implementations that every architecture in transformers has."""
_REMOTE_CODE_ERROR = "trust_remote_code=True"
"""Part of the error of transformers' ``resolve_trust_remote_code`` about code that it must not run."""


class TransformersBackend(ReferenceBackend):
    """``AutoProcessor`` and the family's model; default attention, greedy decoding."""

    name = "transformers"
    engine = "transformers"
    tensor_parallel = ""
    packages = ("transformers", "tokenizers", "torch", "torchvision", "torchcodec", "numpy", "pillow", "av")
    _second_model: tuple[Dtype, TransformersModel] | None = None

    def load(self, checkpoint: Checkpoint) -> None:
        try:
            self._load(checkpoint)
        except ValueError as error:
            if _REMOTE_CODE_ERROR not in str(error):
                raise
            raise UnsupportedError(describe_remote_code(checkpoint.path, checkpoint.source)) from error

    def _load(self, checkpoint: Checkpoint) -> None:
        if self.settings.device == "cpu":
            self._hide_gpu_kernels()
        from transformers import AutoProcessor

        self._checkpoint = checkpoint
        remote = {"trust_remote_code": checkpoint.trust_remote_code}
        self._processor = AutoProcessor.from_pretrained(checkpoint.path, **remote)
        self._files = VideoFileReader(self._processor)
        self.workarounds += self._files.workarounds
        self._config = json.loads((checkpoint.path / "config.json").read_text(encoding="utf-8"))
        self._family = load_family(checkpoint.family) if checkpoint.family in FAMILIES else None
        self._tower = TowerInputs(checkpoint)
        if self.settings.depth is Depth.LOGITS:
            self._load_model()
        else:
            self._load_empty_model(checkpoint, remote)

    def _hide_gpu_kernels(self) -> None:
        """Hide packages of GPU kernels, which transformers 5.23 uses on a CPU too if they can be imported.

        Source: ``use_kernel_func_from_hub_with_fallback``; the kernels fail with Triton's "0 active drivers".
        """
        for package in GPU_KERNELS:
            if find_spec(package) is not None:
                sys.modules[package] = None  # type: ignore[assignment]
                self.workarounds.append(f"{package}: kernels for GPUs, hidden from transformers on a CPU")

    def _load_empty_model(self, checkpoint: Checkpoint, remote: dict[str, bool]) -> None:
        """Load the model without its weights, which suffices for positions."""
        import torch

        empty = self._family.build_empty_model if self._family is not None else build_empty_auto_model
        with torch.device("meta"):
            self._model = empty(checkpoint.path, **remote)

    def _load_model(self) -> None:
        self._own = self._build_model(self.settings.dtype)
        self._model = self._own.model
        self.applied_engine_args = {"attn_implementation": self._own.attention}

    @classmethod
    def build_call(cls, request: Request, processor_kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of ``apply_chat_template``, and those of the processor under its name.

        The texts of a conversation are parts here, as the templates of most families need them.
        """
        conversation = build_conversation(request.case, None)
        media = _build_media_kwargs(request.media, None)
        return {
            "messages": conversation.messages,
            **conversation.template_options,
            "processor": {**media, **processor_kwargs},
        }

    def inputs(self, request: Request) -> Inputs:
        prompt = render_chat(self._processor, request.case, self._family)
        kwargs = build_processor_kwargs(self._checkpoint, request)
        self._files.frame_samplings.clear()
        has_files = any(isinstance(medium, EncodedMedium) for medium in request.media)
        with TemporaryDirectory() if has_files else nullcontext("") as folder:
            prepared = self._processor(
                text=[prompt],
                return_tensors="pt",
                add_special_tokens=not starts_with_bos(self._processor.tokenizer, prompt),
                **self._build_media_arguments(write_media_files(request.media, Path(folder))),
                **kwargs,
            )
        model_options = self._family.model_options if self._family is not None else ()
        prepared.update({name: kwargs[name] for name in model_options if name in kwargs})
        frame_samplings = tuple(self._files.frame_samplings)
        input_ids = tuple(prepared["input_ids"][0].tolist())
        positions = self._compute_positions(prepared)
        changed = render_changed_prompts(self._processor, request.case, self._family)
        if self._family is None:
            not_captured = dict.fromkeys((Stage.SPANS, Stage.MEDIA), self._tower.not_captured[Stage.MEDIA])
            return Inputs(
                prompt,
                input_ids,
                None,
                prepared,
                positions,
                not_captured=not_captured,
                changed_prompts=changed,
            )
        info = collect_medium_info(request.media, frame_samplings)
        spans = self._family.locate_spans(self._config, input_ids, prepared, info)
        media = sort_by_spans(self._tower.media(prepared, spans), spans)
        return Inputs(
            prompt,
            input_ids,
            spans,
            prepared,
            positions,
            add_frame_sampling(media, frame_samplings),
            changed_prompts=changed,
        )

    def _compute_positions(self, prepared: Mapping[str, Any]) -> np.ndarray:
        compute = self._family.compute_positions if self._family is not None else compute_rope_positions
        return compute(self._model, prepared)

    def _build_media_arguments(self, media: Sequence[Media | str]) -> dict[str, Any]:
        extractor = getattr(self._processor, "feature_extractor", None)
        arguments = _build_media_kwargs(media, getattr(extractor, "sampling_rate", None))
        return self._family.adapt_processor_arguments(arguments) if self._family is not None else arguments

    def outputs(self, inputs: Inputs, continuation: tuple[int, ...] | None, new_tokens: int) -> Outputs:
        return self._own.run(inputs.prepared, continuation, new_tokens)

    def samples(
        self, inputs: Inputs, continuation: tuple[int, ...], dtype: Dtype
    ) -> Iterator[tuple[str, Outputs]]:
        """Yield samples in ``dtype`` by eager and SDPA attention; on a GPU alone and in a batch of two.

        On a CPU a batch gives the same bits in prefill and vision: it is no further draw of the noise. The
        sample that equals the reference's own outputs is left out.
        """
        batches = ((1, "alone"),) if self.settings.device == "cpu" else ((1, "alone"), (2, "in a batch"))
        model = self._get_second_model(dtype)
        for attention in ATTENTION_IMPLEMENTATIONS:
            model.set_attention(attention)
            for copies, name in batches:
                if dtype == self.settings.dtype and attention == self._own.attention and copies == 1:
                    continue
                yield f"{attention}, {name}", model.run(inputs.prepared, continuation, 0, copies)

    def locate(
        self, inputs: Inputs, folder: Path, continuation: tuple[int, ...], within: str = ""
    ) -> Location:
        from vlm_parity.backends.transformers.locate import locate_differences

        return locate_differences(
            self._own, self._get_second_model, inputs.prepared, folder, continuation, within
        )

    def _get_second_model(self, dtype: Dtype) -> TransformersModel:
        """Return a second copy of the weights, in ``dtype``; the last one is kept."""
        if self._second_model is None or self._second_model[0] != dtype:
            self._second_model = (dtype, self._build_model(dtype))
        return self._second_model[1]

    def _build_model(self, dtype: Dtype) -> TransformersModel:
        settings = self.settings
        return TransformersModel(self._checkpoint, self._family, dtype, settings.device, settings.engine_args)

    def decode_token_texts(self, ids: Iterable[int]) -> dict[int, str]:
        return decode_token_texts(self._processor.tokenizer, ids)


def _build_media_kwargs(media: Sequence[Media | str], rate: int | None) -> dict[str, Any]:
    """Return the media as arguments of a processor, each modality in the order of the conversation.

    Args:
        media: of a case; a string is the path of a video file, which the processor opens and samples.
        rate: sampling rate of the model's audio in Hz; None if its processor does not state it.
    """
    arguments: dict[str, Any] = {}
    images = [medium for medium in media if isinstance(medium, Image)]
    videos = [medium for medium in media if isinstance(medium, DecodedVideo)]
    audios = [audio for medium in media if (audio := _get_audio(medium)) is not None]
    paths = [medium for medium in media if isinstance(medium, str)]
    if images:
        arguments["images"] = images
    if videos:
        arguments["videos"] = [video.frames for video in videos]
        arguments["video_metadata"] = [build_video_metadata(video) for video in videos]
        arguments["do_sample_frames"] = False
    if paths:
        arguments["videos"] = paths
    if audios:
        arguments["sampling_rate"] = rate or audios[0].rate
        arguments["audio"] = [resample_audio(audio, arguments["sampling_rate"]) for audio in audios]
    if any(video.audio_track is not None for video in videos):
        indices = {id(video): index for index, video in enumerate(videos)}
        arguments["audio_from_video_indices"] = [
            indices.get(id(medium)) for medium in media if _get_audio(medium) is not None
        ]
    return arguments


def _get_audio(medium: Media | str) -> DecodedAudio | None:
    """Return audio itself, or the audio track of a video."""
    if isinstance(medium, DecodedVideo):
        return medium.audio_track
    return medium if isinstance(medium, DecodedAudio) else None
