"""LMDeploy's frontend: from a conversation to ids and multimodal entries."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from vlm_parity.backends.base import Inputs, Request
from vlm_parity.backends.common.chat_template import HfPrompt
from vlm_parity.backends.common.frame_sampling import add_frame_sampling, read_frame_sampling
from vlm_parity.backends.common.openai_messages import build_media_io_kwargs, build_openai_messages
from vlm_parity.backends.common.processor_kwargs import build_processor_kwargs
from vlm_parity.backends.common.template_arguments import select_template_arguments
from vlm_parity.backends.common.token_text import decode_token_texts
from vlm_parity.backends.common.tower_inputs import TowerInputs
from vlm_parity.backends.lmdeploy.entry_points import (
    build_image_data_part,
    build_prompt,
    check_placeholder_support,
)
from vlm_parity.backends.lmdeploy.tower_inputs import Entries, build_media
from vlm_parity.media.load import DecodedVideo, EncodedMedium
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case, Modality
from vlm_parity.schema.engine_setup import EntryPoint
from vlm_parity.schema.trace import FrameSampling, Span, Stage
from vlm_parity.util.errors import UnsupportedError

REFUSED_CASE = re.compile(
    r"unsupported message type|unsupported modality|does not support modality"
    r"|one frame rate a request|not supported by this model",
    re.I,
)
"""Errors about kinds of cases that LMDeploy does not support."""
_TEMPLATE_ARGUMENTS = ("tools", "chat_template_kwargs")


class LmdeployFrontend:
    """A ``MultimodalProcessor``, called as by LMDeploy's own chat path."""

    def __init__(
        self, processor: Any, checkpoint: Checkpoint, run: Callable[[Coroutine[Any, Any, Any]], Any]
    ) -> None:
        """Store the processor.

        Args:
            processor: a ``MultimodalProcessor``.
            checkpoint: of its model.
            run: runs a coroutine to its end and returns its result.
        """
        self._template = HfPrompt(checkpoint)
        self._tower = TowerInputs(checkpoint)
        self._processor = processor
        self._checkpoint = checkpoint
        self._run = run

    def inputs(self, request: Request) -> Inputs:
        """Preprocess a request; ``prepared`` is the engine's own form of it.

        Raises:
            UnsupportedError: LMDeploy reports that it does not support this kind of case.
        """
        frame_samplings: list[FrameSampling] = []
        try:
            kwargs = build_processor_kwargs(self._checkpoint, request)
            if request.entry_point is EntryPoint.CHAT:
                arguments = build_chat_arguments(request, kwargs)
                processed, prompt = self._run(self._process_chat(**arguments))
                if _has_files(request, "video"):
                    frame_samplings = self._run(self._read_frame_samplings(arguments["messages"]))
            else:
                processed, prompt = self._run(
                    self._process_prompt(request, _add_image_limits(kwargs) or None)
                )
        except (ValueError, NotImplementedError) as error:
            if REFUSED_CASE.search(str(error)):
                raise UnsupportedError(str(error)) from error
            raise
        not_captured = dict(self._tower.not_captured)
        if request.entry_point is EntryPoint.TOKEN_IDS:
            not_captured[Stage.PROMPT] = "the prompt was passed as ids"
        ids = tuple(int(token) for token in processed["input_ids"])
        entries = processed.get("multimodal", [])
        prepared = {"input_ids": list(ids), **({"multimodal": entries} if entries else {})}
        videos = [medium for medium in request.media if isinstance(medium, DecodedVideo)]
        frame_counts = [len(video.frames) for video in videos] or [
            len(sampling.indices) for sampling in frame_samplings
        ]
        by_medium = _group_by_medium(entries, self._count_video_entries(frame_counts))
        if by_medium is None:
            reason = "the entries of the videos do not add up to their frames"
            not_captured |= dict.fromkeys((Stage.SPANS, Stage.MEDIA), reason)
            return Inputs(prompt, ids, None, prepared, not_captured=not_captured)
        spans = _build_spans(ids, by_medium)
        media = add_frame_sampling(build_media(self._tower, by_medium, spans), frame_samplings)
        return Inputs(prompt, ids, spans, prepared, media=media, not_captured=not_captured)

    async def _process_chat(
        self, messages: list[Any], media_io_kwargs: dict[str, Any] | None, **arguments: Any
    ) -> tuple[dict[str, Any], str]:
        """Return the engine's inputs and the prompt of a conversation.

        Args:
            messages: in OpenAI's format.
            media_io_kwargs: options for opening files, by modality.
            arguments: the others of ``build_chat_arguments``.
        """
        processor = self._processor
        processed = await processor.get_prompt_input(
            messages, do_preprocess=True, media_io_kwargs=media_io_kwargs, **arguments
        )
        prompt = processed.get("prompt")
        if prompt is None:
            # The newer image processors do not return the prompt: repeat their two calls.
            parsed = await processor.async_parse_multimodal_item(messages, media_io_kwargs)
            template = {name: value for name, value in arguments.items() if name in _TEMPLATE_ARGUMENTS}
            prompt = processor.vl_encoder.model.get_input_prompt(
                messages=parsed, chat_template=processor.chat_template, **template
            )
        return processed, prompt

    async def _read_frame_samplings(self, messages: list[Any]) -> list[FrameSampling]:
        """Return the frame sampling of each video file, from a second call of LMDeploy's loader.

        The first call does not return the metadata.

        Raises:
            PrivateApiChangedError: the loader returns no metadata of a video.
        """
        parsed = await self._processor.async_parse_multimodal_item(messages, None)
        parts = [
            part for message in parsed if isinstance(message["content"], list) for part in message["content"]
        ]
        return [
            read_frame_sampling(part.get("video_metadata") or {}) for part in parts if part["type"] == "video"
        ]

    async def _process_prompt(
        self, request: Request, kwargs: dict[str, Any] | None
    ) -> tuple[dict[str, Any], str | None]:
        """Return the engine's inputs and the prompt of an entry point other than ``chat``.

        The prompt is None for ``token_ids``.
        """
        prompt = build_prompt(request, self._template)
        if isinstance(prompt, list) and isinstance(prompt[0], int):
            return {"input_ids": prompt}, None  # as ``AsyncEngine.preprocess`` does with ids alone
        check_placeholder_support(self._processor.vl_encoder, request)
        processed = await self._processor.get_prompt_input(
            prompt, do_preprocess=False, mm_processor_kwargs=kwargs
        )
        if request.entry_point is EntryPoint.TOKEN_IDS:
            return processed, None
        # The newer image processors do not return the prompt: it is the text that was passed in.
        return processed, processed.get("prompt", self._template.render_text(request.case))

    def _count_video_entries(self, frame_counts: list[int]) -> list[int]:
        """Return the number of entries of each video, for processors with one entry per group of frames."""
        model = getattr(self._processor.vl_encoder, "model", None)
        video_processor = getattr(getattr(model, "processor", None), "video_processor", None)
        group = getattr(video_processor, "temporal_patch_size", 1)
        return [-(-count // group) for count in frame_counts]

    def decode_token_texts(self, ids: Iterable[int]) -> dict[int, str]:
        """Return the text of each id by the Hugging Face tokenizer that LMDeploy wraps."""
        return decode_token_texts(self._processor.tokenizer.model.model, ids)


def build_chat_arguments(request: Request, processor_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``MultimodalProcessor.get_prompt_input`` for a conversation.

    Raises:
        UnsupportedError: LMDeploy has no parameter for one of the template arguments.
        ValueError: the videos have different frame rates.
    """
    return {
        "messages": build_openai_messages(request, build_image_data_part),
        "media_io_kwargs": build_media_io_kwargs(request.media),
        "mm_processor_kwargs": _add_image_limits(processor_kwargs) or None,
        **select_arguments(request.case),
    }


def select_arguments(case: Case) -> dict[str, Any]:
    """Return the template arguments of a case that LMDeploy's chat path takes.

    It continues the last turn if that is the assistant's, without a request to do so, and otherwise adds the
    generation prompt (``HFChatTemplate.messages2prompt``).

    Raises:
        UnsupportedError: it has no parameter for one of them.
    """
    if case.continue_final_message:
        case = case.model_copy(update={"continue_final_message": False, "add_generation_prompt": True})
    return select_template_arguments(case, _TEMPLATE_ARGUMENTS, "LMDeploy's chat path")


def _add_image_limits(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return processor kwargs with the pixel limits also where LMDeploy's newer image processors read them.

    They read a table ``image`` (``VisionModel.preprocess``); the older ones read neither.
    """
    limits = {name: kwargs[name] for name in ("min_pixels", "max_pixels") if name in kwargs}
    return {**kwargs, **({"image": limits} if limits else {})}


def _has_files(request: Request, modality: Modality) -> bool:
    return any(isinstance(medium, EncodedMedium) and medium.modality == modality for medium in request.media)


def _group_by_medium(entries: list[dict[str, Any]], video_entries: list[int]) -> Entries | None:
    """Group the entries by medium; None if those of videos cannot be assigned.

    Args:
        entries: ``multimodal`` of the engine's inputs: one entry for an image, one or more for a video.
        video_entries: number of entries of each video, if it is not one.
    """
    grouped: dict[Modality, list[list[dict[str, Any]]]] = {}
    for entry in entries:
        modality: Modality = getattr(entry.get("modality"), "value", "image")
        grouped.setdefault(modality, []).append([entry])
    if "video" in grouped and len(grouped["video"]) != len(video_entries):
        if len(grouped["video"]) != sum(video_entries):
            return None
        pieces = iter(grouped["video"])
        grouped["video"] = [
            [entry for _ in range(count) for entry in next(pieces)] for count in video_entries
        ]
    return grouped


def _build_spans(ids: tuple[int, ...], by_medium: Entries) -> tuple[Span, ...]:
    """Return the span of each medium, in the order of the prompt."""
    spans = [
        Span.of(
            modality, item, (position for entry in entries for position in _embedded_positions(ids, entry))
        )
        for modality, media in by_medium.items()
        for item, entries in enumerate(media)
    ]
    return tuple(sorted(spans, key=lambda span: span.offset))


def _embedded_positions(ids: tuple[int, ...], entry: dict[str, Any]) -> list[int]:
    """Return the positions in the range of an entry that hold its placeholder.

    Older image processors return the start and a count, newer ones a half-open range.
    """
    offset = entry["offset"]
    start, stop = offset if isinstance(offset, tuple) else (offset, offset + int(entry["image_tokens"]))
    placeholders = {
        entry[name]
        for name in ("image_token_id", "video_token_id", "audio_token_id")
        if entry.get(name) is not None
    }
    return [position for position in range(start, stop) if ids[position] in placeholders]
