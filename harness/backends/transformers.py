"""The reference: native transformers, as its documentation uses it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.backends.base import Backend, Inputs, Outputs, Request
from harness.backends.token_text import token_texts
from harness.case import ImagePart, Message, TextPart, VideoPart
from harness.media.load import Image, Video
from harness.models import FAMILIES, load_family
from harness.models.checkpoint import Checkpoint
from harness.trace import Depth, Span, Stage

if TYPE_CHECKING:
    import torch

    from harness.models.family import Family


class TransformersBackend(Backend):
    """``AutoProcessor`` and ``AutoModelForImageTextToText``; default attention, no sampling."""

    name = "transformers"
    engine = "transformers"
    packages = ("transformers", "tokenizers", "torch", "torchvision", "numpy", "pillow")

    def load(self, checkpoint: Checkpoint) -> None:
        from transformers import AutoProcessor

        remote = {"trust_remote_code": checkpoint.trust_remote_code}
        self._processor = AutoProcessor.from_pretrained(checkpoint.path, **remote)
        self._config = json.loads((checkpoint.path / "config.json").read_text(encoding="utf-8"))
        self._family = load_family(checkpoint.family) if checkpoint.family in FAMILIES else None
        if self.settings.depth is Depth.LOGITS:
            self._load_model(checkpoint, remote)
        else:
            self._load_shape(checkpoint, remote)

    def _load_shape(self, checkpoint: Checkpoint, remote: dict[str, bool]) -> None:
        """The model without its weights: enough for positions."""
        import torch
        from transformers import AutoConfig, AutoModelForImageTextToText

        with torch.device("meta"):
            config = AutoConfig.from_pretrained(checkpoint.path, **remote)
            self._model = AutoModelForImageTextToText.from_config(config, **remote)

    def _load_model(self, checkpoint: Checkpoint, remote: dict[str, bool]) -> None:
        import torch
        from transformers import AutoModelForImageTextToText, GenerationConfig

        dtype = getattr(torch, self.settings.dtype)
        arguments = {**remote, **self.settings.engine_args, "dtype": dtype}
        model = AutoModelForImageTextToText.from_pretrained(checkpoint.path, **arguments)
        self._model = model.to(self.settings.device).eval()
        # The checkpoint's own generation settings hold penalties and end-of-sequence ids.
        self._model.generation_config = GenerationConfig(pad_token_id=0)
        self.applied = {"attn_implementation": self._model.config._attn_implementation}

    def inputs(self, request: Request) -> Inputs:
        messages = [_message(message) for message in request.case.messages]
        prompt = self._processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        prepared = self._processor(
            text=[prompt],
            return_tensors="pt",
            add_special_tokens=not self._starts_with_bos(prompt),
            **_media_arguments(request.media),
        )
        input_ids = tuple(prepared["input_ids"][0].tolist())
        spans, missing = None, {}
        if self._family is None:
            reason = f"no family is registered for model_type {self._config.get('model_type')!r}"
            missing[Stage.SPANS] = reason
        else:
            spans = self._spans(self._family, input_ids, prepared)
        return Inputs(prompt, input_ids, spans, prepared, self._positions(prepared), missing)

    def _positions(self, prepared: Mapping[str, Any]) -> np.ndarray:
        """What the model makes of the ids by itself: text positions, or those of its rope index."""
        rope_index = getattr(self._model.base_model, "get_rope_index", None)
        if rope_index is None:
            return np.arange(prepared["input_ids"].shape[1], dtype=np.int64)[None]
        known = signature(rope_index).parameters
        positions, _ = rope_index(**{name: prepared[name] for name in known if name in prepared})
        array: np.ndarray = positions[:, 0].cpu().numpy()
        return array

    def _starts_with_bos(self, prompt: str) -> bool:
        """Whether the template wrote the token that the tokenizer would add once more.

        Source: ``ProcessorMixin.apply_chat_template``, which does the same when it tokenizes.
        """
        bos = self._processor.tokenizer.bos_token
        return bos is not None and prompt.startswith(bos)

    def _spans(
        self, known: Family, input_ids: tuple[int, ...], prepared: Mapping[str, Any]
    ) -> tuple[Span, ...]:
        """Deals the positions that hold a placeholder out to the media, in order."""
        spans = []
        counts = known.feature_counts(self._config, prepared)
        for modality, placeholder in known.placeholder_ids(self._config).items():
            positions = (index for index, token in enumerate(input_ids) if token == placeholder)
            for item, count in enumerate(counts.get(modality, [])):
                spans.append(Span.of(modality, item, islice(positions, count)))
        return tuple(sorted(spans, key=lambda span: span.offset))

    def outputs(self, inputs: Inputs, continuation: tuple[int, ...] | None, new_tokens: int) -> Outputs:
        import torch

        with torch.inference_mode():
            fed = inputs.prepared.to(self.settings.device, dtype=getattr(torch, self.settings.dtype))
            with self._embeddings() as embeddings:
                prefill = _to_numpy(self._model(**fed, use_cache=False).logits[0])
            greedy, rows = self._generate(fed, new_tokens)
            if continuation is not None and continuation != greedy:
                _, rows = self._generate(fed, len(continuation), continuation)
        decode = _to_numpy(torch.cat(rows)[1:])
        return Outputs(prefill, decode, continuation or greedy, greedy, embeddings=embeddings[0])

    @contextmanager
    def _embeddings(self) -> Iterator[list[np.ndarray]]:
        """Collects what the language model's first layer is given while the block runs."""
        found: list[np.ndarray] = []

        def take(_: Any, __: Any, given: dict[str, Any]) -> None:
            found.append(_to_numpy(given["inputs_embeds"][0]))

        hook = self._model.get_decoder().register_forward_pre_hook(take, with_kwargs=True)
        try:
            yield found
        finally:
            hook.remove()

    def _generate(
        self, fed: Any, new_tokens: int, forced: tuple[int, ...] | None = None
    ) -> tuple[tuple[int, ...], tuple[torch.Tensor, ...]]:
        """The new tokens and the raw logits before each: new_tokens times [1, vocabulary]."""
        length = fed["input_ids"].shape[1]

        def force(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            only = scores.new_full(scores.shape, float("-inf"))
            only[:, forced[ids.shape[1] - length]] = 0  # type: ignore[index]
            return only

        result = self._model.generate(
            **fed,
            max_new_tokens=new_tokens,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
            logits_processor=[force] if forced else [],
        )
        return tuple(result.sequences[0, length:].tolist()), result.logits

    def token_texts(self, ids: Iterable[int]) -> dict[int, str]:
        return token_texts(self._processor.tokenizer, ids)


def _message(message: Message) -> dict[str, Any]:
    return {"role": message.role, "content": [_part(part) for part in message.parts]}


def _part(part: TextPart | ImagePart | VideoPart) -> dict[str, str]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    return {"type": "image" if isinstance(part, ImagePart) else "video"}


def _media_arguments(media: tuple[Image | Video, ...]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    images = [medium for medium in media if isinstance(medium, Image)]
    videos = [medium for medium in media if isinstance(medium, Video)]
    if images:
        arguments["images"] = images
    if videos:
        arguments["videos"] = [video.frames for video in videos]
        arguments["video_metadata"] = [_metadata(video) for video in videos]
        arguments["do_sample_frames"] = False
    return arguments


def _metadata(video: Video) -> dict[str, Any]:
    count = len(video.frames)
    return {
        "total_num_frames": count,
        "fps": video.fps,
        "duration": video.duration,
        "frames_indices": list(range(count)),
    }


def _to_numpy(logits: torch.Tensor) -> np.ndarray:
    array: np.ndarray = logits.float().cpu().numpy()
    return array
