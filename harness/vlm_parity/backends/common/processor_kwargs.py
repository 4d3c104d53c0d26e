"""What a processor is told of the media beside them, as the model's family knows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from vlm_parity.backends.base import Request
from vlm_parity.media.load import DecodedAudio, DecodedVideo, EncodedMedium, Media
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.families.base import MediumInfo
from vlm_parity.models.registry import FAMILIES, load_family
from vlm_parity.schema.trace import FrameSampling


def media_info(media: Iterable[Media], sampled: Iterable[FrameSampling] = ()) -> list[MediumInfo]:
    """What is known of the media.

    Args:
        media: in the order of the conversation.
        sampled: the frames that were taken of the video files, once a processor has opened them.
    """
    taken = iter(sampled)
    return [_medium_info(medium, taken) for medium in media]


def build_processor_kwargs(checkpoint: Checkpoint, request: Request) -> dict[str, Any]:
    """``mm_processor_kwargs`` for a request: what the family's processor has to be told, and over it what
    the case says.

    Raises:
        ValueError: the family's processor cannot be told.
    """
    told = request.case.processor_kwargs.as_kwargs if request.case.processor_kwargs is not None else {}
    if checkpoint.family not in FAMILIES:
        return told
    return {**load_family(checkpoint.family).get_processor_options(media_info(request.media)), **told}


def _medium_info(medium: Media, taken: Iterator[FrameSampling]) -> MediumInfo:
    if isinstance(medium, DecodedVideo):
        return MediumInfo(
            "video", len(medium.frames), medium.fps, has_audio_track=medium.audio_track is not None
        )
    if isinstance(medium, EncodedMedium):
        found = next(taken, None) if medium.modality == "video" else None
        return MediumInfo(medium.modality, len(found.indices) if found is not None else 1)
    return MediumInfo("audio" if isinstance(medium, DecodedAudio) else "image")
