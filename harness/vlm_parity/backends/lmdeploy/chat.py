"""LMDeploy's front end: from a conversation to the token ids and features that its engine is fed."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any

from vlm_parity.backends.base import Inputs, Request
from vlm_parity.backends.common.chat_template import HfPrompt
from vlm_parity.backends.common.frame_sampling import add_frame_sampling, read_frame_sampling
from vlm_parity.backends.common.processor_kwargs import build_processor_kwargs
from vlm_parity.backends.common.token_text import decode_token_texts
from vlm_parity.backends.common.tower_inputs import TowerInputs
from vlm_parity.backends.lmdeploy.entry_points import build_prompt, check_placeholder_support
from vlm_parity.backends.lmdeploy.tower_inputs import Entries, build_media
from vlm_parity.media.data_url import encode_audio_url, encode_video_url, get_common_rate
from vlm_parity.media.load import DecodedAudio, DecodedVideo, EncodedMedium, Media
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Message, Modality, TextPart
from vlm_parity.schema.engine_setup import EntryPoint
from vlm_parity.schema.trace import FrameSampling, Span, Stage
from vlm_parity.util.errors import UnsupportedError

REFUSED_CASE = re.compile(
    r"unsupported message type|unsupported modality|does not support modality"
    r"|one frame rate a request|not supported by this model",
    re.I,
)


class LmdeployFrontend:
    """Asks a ``MultimodalProcessor`` as LMDeploy's own chat path does."""

    def __init__(
        self, processor: Any, checkpoint: Checkpoint, run: Callable[[Coroutine[Any, Any, Any]], Any]
    ) -> None:
        """Args:
        processor: a ``MultimodalProcessor``.
        checkpoint: of the model that it feeds.
        run: runs a coroutine to its end.
        """
        self._template = HfPrompt(checkpoint)
        self._tower = TowerInputs(checkpoint)
        self._processor = processor
        self._checkpoint = checkpoint
        self._run = run

    def inputs(self, request: Request) -> Inputs:
        """What the engine is fed; ``prepared`` is the engine's own form of it.

        Raises:
            UnsupportedError: LMDeploy says that it does not serve this kind of message.
        """
        videos = [medium for medium in request.media if isinstance(medium, DecodedVideo)]
        try:
            told = _split_by_modality(build_processor_kwargs(self._checkpoint, request)) or None
            if request.entry_point is EntryPoint.CHAT:
                messages = list(build_openai_messages(request))
                reading = {"video": {"fps": get_common_rate(videos), "num_frames": -1}} if videos else None
                found, prompt = self._run(self._chat(messages, reading, told))
                sampled = self._run(self._sampled(messages)) if _has_files(request, "video") else []
            else:
                (found, prompt), sampled = self._run(self._handed(request, told)), []
        except (ValueError, NotImplementedError) as problem:
            if REFUSED_CASE.search(str(problem)):
                raise UnsupportedError(str(problem)) from problem
            raise
        missing = dict(self._tower.not_captured)
        if request.entry_point is EntryPoint.TOKEN_IDS:
            missing[Stage.PROMPT] = "the prompt was handed over as ids"
        ids = tuple(int(token) for token in found["input_ids"])
        entries = found.get("multimodal", [])
        prepared = {"input_ids": list(ids), **({"multimodal": entries} if entries else {})}
        frames = [len(video.frames) for video in videos] or [len(video.indices) for video in sampled]
        by_medium = _group_by_medium(entries, self._entries_of(frames))
        if by_medium is None:
            reason = "the entries of the videos do not add up to their frames"
            missing |= dict.fromkeys((Stage.SPANS, Stage.MEDIA), reason)
            return Inputs(prompt, ids, None, prepared, not_captured=missing)
        spans = _build_spans(ids, by_medium)
        media = add_frame_sampling(build_media(self._tower, by_medium, spans), sampled)
        return Inputs(prompt, ids, spans, prepared, media=media, not_captured=missing)

    async def _chat(
        self, messages: list[Any], reading: dict[str, Any] | None, told: dict[str, Any] | None
    ) -> tuple[dict[str, Any], str]:
        """What the engine is fed, and the prompt.

        Args:
            messages: as users write them.
            reading: how files are read, by modality.
            told: what the processor is told of the media.
        """
        processor = self._processor
        found = await processor.get_prompt_input(
            messages, do_preprocess=True, media_io_kwargs=reading, mm_processor_kwargs=told
        )
        prompt = found.get("prompt")
        if prompt is None:
            # The newer image processors keep the prompt to themselves: the same two calls again.
            parsed = await processor.async_parse_multimodal_item(messages, reading)
            prompt = processor.vl_encoder.model.get_input_prompt(
                messages=parsed, chat_template=processor.chat_template
            )
        return found, prompt

    async def _sampled(self, messages: list[Any]) -> list[FrameSampling]:
        """Which frames LMDeploy's loader takes from the video files: it is asked once more, for what it
        says of them is not handed on.

        Raises:
            PrivateApiChangedError: it says nothing of a video.
        """
        parsed = await self._processor.async_parse_multimodal_item(messages, None)
        parts = [
            part for message in parsed if isinstance(message["content"], list) for part in message["content"]
        ]
        return [
            read_frame_sampling(part.get("video_metadata") or {}) for part in parts if part["type"] == "video"
        ]

    async def _handed(
        self, request: Request, told: dict[str, Any] | None
    ) -> tuple[dict[str, Any], str | None]:
        """As ``_chat``, by another way in; None where no text goes in."""
        given = build_prompt(request, self._template)
        if isinstance(given, list) and isinstance(given[0], int):
            return {"input_ids": given}, None  # as ``AsyncEngine.preprocess`` does with ids alone
        check_placeholder_support(self._processor.vl_encoder, request)
        found = await self._processor.get_prompt_input(given, do_preprocess=False, mm_processor_kwargs=told)
        if request.entry_point is EntryPoint.TOKEN_IDS:
            return found, None
        # The newer image processors keep the prompt to themselves: it is the text as it was handed.
        return found, found.get("prompt", self._template.render_text(request.case))

    def _entries_of(self, frames_of_video: list[int]) -> list[int]:
        """How many entries each video has where each group of frames has one."""
        model = getattr(self._processor.vl_encoder, "model", None)
        frames = getattr(getattr(model, "processor", None), "video_processor", None)
        together = getattr(frames, "temporal_patch_size", 1)
        return [-(-count // together) for count in frames_of_video]

    def decode_token_texts(self, ids: Iterable[int]) -> dict[int, str]:
        """The text of each id by the tokenizer under LMDeploy's."""
        return decode_token_texts(self._processor.tokenizer.model.model, ids)


def _split_by_modality(told: dict[str, Any]) -> dict[str, Any]:
    """What a processor is told, the sizes of pictures where LMDeploy's newer image processors look for them:
    in a table of their own (``VisionModel.preprocess``). Its older ones look nowhere.
    """
    sizes = {name: told[name] for name in ("min_pixels", "max_pixels") if name in told}
    return {**told, **({"image": sizes} if sizes else {})}


def build_openai_messages(request: Request) -> Iterator[dict[str, Any]]:
    """The conversation as LMDeploy's users write it; a text stays a text, parts stay parts."""
    media = iter(request.media)
    for message in request.case.messages:
        if isinstance(message.content, str):
            yield {"role": message.role, "content": message.content}
        else:
            yield {"role": message.role, "content": list(_content_parts(message, media))}


def _content_parts(message: Message, media: Iterator[Media]) -> Iterator[dict[str, Any]]:
    for part in message.parts:
        if isinstance(part, TextPart):
            yield {"type": "text", "text": part.text}
            continue
        medium = next(media)
        if isinstance(medium, EncodedMedium):
            kind = f"{medium.modality}_url"
            yield {"type": kind, kind: {"url": medium.build_url()}}
        elif isinstance(medium, DecodedVideo):
            yield {"type": "video_url", "video_url": {"url": encode_video_url(medium)}}
        elif isinstance(medium, DecodedAudio):
            yield {"type": "audio_url", "audio_url": {"url": encode_audio_url(medium)}}
        else:
            yield {"type": "image_data", "image_data": {"data": medium}}


def _has_files(request: Request, modality: Modality) -> bool:
    return any(isinstance(medium, EncodedMedium) and medium.modality == modality for medium in request.media)


def _group_by_medium(entries: list[dict[str, Any]], entries_of_video: list[int]) -> Entries | None:
    """Deals the entries out to the media; None if a video's cannot be told.

    Args:
        entries: what LMDeploy gives its engine: one entry an image, one or more a video.
        entries_of_video: how many entries each video has, if not one.
    """
    found: dict[Modality, list[list[dict[str, Any]]]] = {}
    for entry in entries:
        modality: Modality = getattr(entry.get("modality"), "value", "image")
        found.setdefault(modality, []).append([entry])
    if "video" in found and len(found["video"]) != len(entries_of_video):
        if len(found["video"]) != sum(entries_of_video):
            return None
        pieces = iter(found["video"])
        found["video"] = [
            [entry for _ in range(count) for entry in next(pieces)] for count in entries_of_video
        ]
    return found


def _build_spans(ids: tuple[int, ...], by_medium: Entries) -> tuple[Span, ...]:
    """One span a medium, in the order of the prompt."""
    spans = [
        Span.of(modality, item, (at for entry in entries for at in _embedded_positions(ids, entry)))
        for modality, media in by_medium.items()
        for item, entries in enumerate(media)
    ]
    return tuple(sorted(spans, key=lambda span: span.offset))


def _embedded_positions(ids: tuple[int, ...], entry: dict[str, Any]) -> list[int]:
    """The positions of an entry's range that hold its placeholder.

    Older image processors give the start and a count, newer ones a half-open range.
    """
    place = entry["offset"]
    start, stop = place if isinstance(place, tuple) else (place, place + int(entry["image_tokens"]))
    kept = {
        entry[name]
        for name in ("image_token_id", "video_token_id", "audio_token_id")
        if entry.get(name) is not None
    }
    return [position for position in range(start, stop) if ids[position] in kept]
