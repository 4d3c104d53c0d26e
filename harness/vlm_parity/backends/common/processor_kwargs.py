"""What a processor is told of the media beside them, as the model's family knows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from vlm_parity.backends.base import Request
from vlm_parity.media.load import Audio, Encoded, Media, Video
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.families.base import Offered
from vlm_parity.models.registry import FAMILIES, load_family
from vlm_parity.schema.trace import Sampling


def offered(media: Iterable[Media], sampled: Iterable[Sampling] = ()) -> list[Offered]:
    """What is known of the media.

    Args:
        media: in the order of the conversation.
        sampled: the frames that were taken of the video files, once a processor has opened them.
    """
    taken = iter(sampled)
    return [_offered(medium, taken) for medium in media]


def processor_options(checkpoint: Checkpoint, request: Request) -> dict[str, Any]:
    """``mm_processor_kwargs`` for a request: what the family's processor has to be told, and over it what
    the case says.

    Raises:
        ValueError: the family's processor cannot be told.
    """
    told = request.case.processor_kwargs.told if request.case.processor_kwargs is not None else {}
    if checkpoint.family not in FAMILIES:
        return told
    return {**load_family(checkpoint.family).processor_options(offered(request.media)), **told}


def _offered(medium: Media, taken: Iterator[Sampling]) -> Offered:
    if isinstance(medium, Video):
        return Offered("video", len(medium.frames), medium.fps, is_heard=medium.audio_track is not None)
    if isinstance(medium, Encoded):
        found = next(taken, None) if medium.modality == "video" else None
        return Offered(medium.modality, len(found.indices) if found is not None else 1)
    return Offered("audio" if isinstance(medium, Audio) else "image")
