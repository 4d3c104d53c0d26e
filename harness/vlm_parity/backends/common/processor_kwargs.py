"""Processor kwargs of a request: those that the model's family requires, and those of the case."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from vlm_parity.backends.base import Request
from vlm_parity.media.load import DecodedAudio, DecodedVideo, EncodedMedium, Media
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.families.base import MediumInfo
from vlm_parity.models.registry import FAMILIES, load_family
from vlm_parity.schema.trace import FrameSampling


def collect_medium_info(
    media: Iterable[Media], frame_samplings: Iterable[FrameSampling] = ()
) -> list[MediumInfo]:
    """Return the modality, frame count and frame rate of each medium.

    Args:
        media: in the order of the conversation.
        frame_samplings: of the video files, in order, once a processor has opened them.
    """
    remaining = iter(frame_samplings)
    return [_build_medium_info(medium, remaining) for medium in media]


def build_processor_kwargs(checkpoint: Checkpoint, request: Request) -> dict[str, Any]:
    """Return the ``mm_processor_kwargs`` of a request; those of the case override those of the family.

    Raises:
        ValueError: the family's processor cannot express the request.
    """
    case_kwargs = request.case.processor_kwargs.as_kwargs if request.case.processor_kwargs is not None else {}
    if checkpoint.family not in FAMILIES:
        return case_kwargs
    family = load_family(checkpoint.family)
    return {**family.get_processor_options(collect_medium_info(request.media)), **case_kwargs}


def _build_medium_info(medium: Media, frame_samplings: Iterator[FrameSampling]) -> MediumInfo:
    if isinstance(medium, DecodedVideo):
        return MediumInfo(
            "video", len(medium.frames), medium.fps, has_audio_track=medium.audio_track is not None
        )
    if isinstance(medium, EncodedMedium):
        sampling = next(frame_samplings, None) if medium.modality == "video" else None
        return MediumInfo(medium.modality, len(sampling.indices) if sampling is not None else 1)
    return MediumInfo("audio" if isinstance(medium, DecodedAudio) else "image")
