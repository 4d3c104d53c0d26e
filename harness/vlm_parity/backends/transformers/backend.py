"""The reference: native transformers, as its documentation uses it."""

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

from vlm_parity.backends.base import Dtype, Inputs, Outputs, ReferenceBackend, Request
from vlm_parity.backends.common.chat_template import build_video_metadata, render_chat, starts_with_bos
from vlm_parity.backends.common.frame_sampling import add_frame_sampling
from vlm_parity.backends.common.processor_kwargs import build_processor_kwargs, media_info
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
from vlm_parity.schema.trace import Depth, Stage
from vlm_parity.util.errors import UnsupportedError

GPU_KERNELS = ("fla", "causal_conv1d")
"""What transformers runs linear attention with where it finds them."""
ATTENTION_IMPLEMENTATIONS = ("eager", "sdpa")
"""The kernels that every architecture in transformers has."""
_REMOTE_CODE_ERROR = "trust_remote_code=True"
"""In what ``resolve_trust_remote_code`` of transformers says of code that it may not run."""


class TransformersBackend(ReferenceBackend):
    """``AutoProcessor`` and the family's model; default attention, no sampling."""

    name = "transformers"
    engine = "transformers"
    tensor_parallel = ""
    packages = ("transformers", "tokenizers", "torch", "torchvision", "torchcodec", "numpy", "pillow", "av")
    _other: tuple[Dtype, TransformersModel] | None = None

    def load(self, checkpoint: Checkpoint) -> None:
        try:
            self._load(checkpoint)
        except ValueError as problem:
            if _REMOTE_CODE_ERROR not in str(problem):
                raise
            raise UnsupportedError(describe_remote_code(checkpoint.path, checkpoint.source)) from problem

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
            self._load_shape(checkpoint, remote)

    def _hide_gpu_kernels(self) -> None:
        """transformers 5.23 takes a package's kernels wherever it can be imported, on a CPU too.

        Source: ``use_kernel_func_from_hub_with_fallback``; what follows is Triton's "0 active drivers".
        """
        for package in GPU_KERNELS:
            if find_spec(package) is not None:
                sys.modules[package] = None  # type: ignore[assignment]
                self.workarounds.append(f"{package}: kernels for GPUs, hidden from transformers on a CPU")

    def _load_shape(self, checkpoint: Checkpoint, remote: dict[str, bool]) -> None:
        """The model without its weights: enough for positions."""
        import torch

        empty = self._family.build_empty_model if self._family is not None else build_empty_auto_model
        with torch.device("meta"):
            self._model = empty(checkpoint.path, **remote)

    def _load_model(self) -> None:
        settings = self.settings
        self._own = self._model_in(settings.dtype)
        self._model = self._own.model
        self.applied_engine_args = {"attn_implementation": self._own.attention}

    def inputs(self, request: Request) -> Inputs:
        prompt = render_chat(self._processor, request.case, self._family)
        options = build_processor_kwargs(self._checkpoint, request)
        self._files.taken.clear()
        files = any(isinstance(medium, EncodedMedium) for medium in request.media)
        with TemporaryDirectory() if files else nullcontext("") as folder:
            prepared = self._processor(
                text=[prompt],
                return_tensors="pt",
                add_special_tokens=not starts_with_bos(self._processor.tokenizer, prompt),
                **self._media_arguments(write_media_files(request.media, Path(folder))),
                **options,
            )
        told = self._family.model_options if self._family is not None else ()
        prepared.update({name: options[name] for name in told if name in options})
        sampled = tuple(self._files.taken)
        input_ids = tuple(prepared["input_ids"][0].tolist())
        positions = self._positions(prepared)
        if self._family is None:
            missing = dict.fromkeys((Stage.SPANS, Stage.MEDIA), self._tower.not_captured[Stage.MEDIA])
            return Inputs(prompt, input_ids, None, prepared, positions, not_captured=missing)
        known = media_info(request.media, sampled)
        spans = self._family.locate_spans(self._config, input_ids, prepared, known)
        media = add_frame_sampling(sort_by_spans(self._tower.media(prepared, spans), spans), sampled)
        return Inputs(prompt, input_ids, spans, prepared, positions, media)

    def _positions(self, prepared: Mapping[str, Any]) -> np.ndarray:
        positions = self._family.compute_positions if self._family is not None else compute_rope_positions
        return positions(self._model, prepared)

    def _media_arguments(self, media: Sequence[Media | str]) -> dict[str, Any]:
        extractor = getattr(self._processor, "feature_extractor", None)
        arguments = _build_media_kwargs(media, getattr(extractor, "sampling_rate", None))
        return self._family.adapt_processor_arguments(arguments) if self._family is not None else arguments

    def outputs(self, inputs: Inputs, continuation: tuple[int, ...] | None, new_tokens: int) -> Outputs:
        return self._own.run(inputs.prepared, continuation, new_tokens)

    def samples(
        self, inputs: Inputs, continuation: tuple[int, ...], dtype: Dtype
    ) -> Iterator[tuple[str, Outputs]]:
        """The same request in ``dtype``, by eager and SDPA attention, alone and in a batch of two.

        A run that is the truth itself is left out.
        """
        copy = self._copy_in(dtype)
        for attention in ATTENTION_IMPLEMENTATIONS:
            copy.attend(attention)
            for copies, name in ((1, "alone"), (2, "in a batch")):
                if dtype == self.settings.dtype and attention == self._own.attention and copies == 1:
                    continue
                yield f"{attention}, {name}", copy.run(inputs.prepared, continuation, 1, copies)

    def _copy_in(self, dtype: Dtype) -> TransformersModel:
        """The weights in another dtype; the last one is kept."""
        if self._other is None or self._other[0] != dtype:
            self._other = (dtype, self._model_in(dtype))
        return self._other[1]

    def _model_in(self, dtype: Dtype) -> TransformersModel:
        settings = self.settings
        return TransformersModel(self._checkpoint, self._family, dtype, settings.device, settings.engine_args)

    def decode_token_texts(self, ids: Iterable[int]) -> dict[int, str]:
        return decode_token_texts(self._processor.tokenizer, ids)


def _build_media_kwargs(media: Sequence[Media | str], rate: int | None) -> dict[str, Any]:
    """The media as arguments of a processor, each modality in the order of the conversation.

    Args:
        media: of a case; a string is the path of a video, which it is to open and to sample by itself.
        rate: the samples a second that the model hears; None where its processor does not say.
    """
    arguments: dict[str, Any] = {}
    images = [medium for medium in media if isinstance(medium, Image)]
    videos = [medium for medium in media if isinstance(medium, DecodedVideo)]
    sounds = [sound for medium in media if (sound := _has_audio_track(medium)) is not None]
    paths = [medium for medium in media if isinstance(medium, str)]
    if images:
        arguments["images"] = images
    if videos:
        arguments["videos"] = [video.frames for video in videos]
        arguments["video_metadata"] = [build_video_metadata(video) for video in videos]
        arguments["do_sample_frames"] = False
    if paths:
        arguments["videos"] = paths
    if sounds:
        arguments["sampling_rate"] = rate or sounds[0].rate
        arguments["audio"] = [resample_audio(sound, arguments["sampling_rate"]) for sound in sounds]
    if any(video.audio_track is not None for video in videos):
        places = {id(video): place for place, video in enumerate(videos)}
        arguments["audio_from_video_indices"] = [
            places.get(id(medium)) for medium in media if _has_audio_track(medium) is not None
        ]
    return arguments


def _has_audio_track(medium: Media | str) -> DecodedAudio | None:
    """The sound itself, or the sound of a video."""
    return (
        medium.audio_track
        if isinstance(medium, DecodedVideo)
        else medium
        if isinstance(medium, DecodedAudio)
        else None
    )
