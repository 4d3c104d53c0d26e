"""Conversations as messages of OpenAI's chat API, which all engines accept, media as data URLs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vlm_parity.backends.base import Request
from vlm_parity.backends.common.message import build_message
from vlm_parity.media.data_url import encode_audio_url, encode_image_url, encode_video_url, get_common_rate
from vlm_parity.media.load import DecodedAudio, DecodedVideo, EncodedMedium, Image, Media

ImagePartBuilder = Callable[[Image], dict[str, Any]]
"""Builds the content part of a decoded image; engines accept such images in forms of their own."""


def build_image_url_part(image: Image) -> dict[str, Any]:
    """Return the content part of a decoded image in OpenAI's own form: a lossless data URL."""
    return {"type": "image_url", "image_url": {"url": encode_image_url(image)}}


def build_openai_messages(
    request: Request, build_image_part: ImagePartBuilder = build_image_url_part
) -> list[dict[str, Any]]:
    """Return the messages of a request as they were written: a string stays a string, null stays null.

    Args:
        request: its media are used in order.
        build_image_part: form of decoded images.
    """
    media = iter(request.media)
    return [
        build_message(message, lambda _: build_medium_part(next(media), build_image_part))
        for message in request.case.messages
    ]


def build_medium_part(
    medium: Media, build_image_part: ImagePartBuilder = build_image_url_part
) -> dict[str, Any]:
    """Return the content part of one medium: files keep their bytes, decoded media their values."""
    if isinstance(medium, EncodedMedium):
        return _build_url_part(f"{medium.modality}_url", medium.build_url())
    if isinstance(medium, DecodedVideo):
        return _build_url_part("video_url", encode_video_url(medium))
    if isinstance(medium, DecodedAudio):
        return _build_url_part("audio_url", encode_audio_url(medium))
    return build_image_part(medium)


def build_media_io_kwargs(media: Sequence[Media]) -> dict[str, dict[str, Any]] | None:
    """Return the engines' ``media_io_kwargs`` for decoded videos: their frame rate, and no frame sampling.

    Returns:
        None if there are no decoded videos.

    Raises:
        ValueError: the videos have different frame rates.
    """
    videos = [medium for medium in media if isinstance(medium, DecodedVideo)]
    return {"video": {"fps": get_common_rate(videos), "num_frames": -1}} if videos else None


def _build_url_part(part_type: str, url: str) -> dict[str, Any]:
    return {"type": part_type, part_type: {"url": url}}
