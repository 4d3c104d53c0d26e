"""Decoded media, as they are handed to the backends."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image

from harness.case import (
    AudioPart,
    AudioRecipe,
    Case,
    DataUrl,
    ImagePart,
    ImageRecipe,
    MediaFile,
    MediaPart,
    Modality,
    VideoPart,
    VideoRecipe,
)
from harness.media.patterns import draw_frames, draw_image
from harness.media.sounds import draw_sound

Image = PIL.Image.Image


@dataclass(frozen=True)
class Video:
    """A decoded video, all frames taken: backends must not sample it again."""

    frames: np.ndarray
    """uint8 [frames, height, width, 3], RGB"""
    fps: float
    """Frames a second."""

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.frames) / self.fps


@dataclass(frozen=True)
class Audio:
    """A decoded sound: one channel."""

    samples: np.ndarray
    """float32 [samples], from -1 to 1"""
    rate: int
    """Samples a second."""

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / self.rate


Media = Image | Video | Audio


class BadMedia(Exception):
    """A medium cannot be made or decoded; the message names the case, the item and the file."""


def load_media(case: Case) -> tuple[Media, ...]:
    """Decodes the media of a case, in the order of the conversation.

    Pictures from files keep their mode (RGBA, palette, 16 bits): turning them into RGB is the
    business of the backends, and one of their differences. Recipes are RGB.

    Raises:
        BadMedia: a file is missing or cannot be decoded, or a recipe cannot be drawn.
    """
    seen: Counter[str] = Counter()
    media: list[Media] = []
    for modality, part in case.media:
        try:
            media.append(_LOADERS[modality](case, part))
        except (OSError, ValueError, PIL.Image.DecompressionBombError) as problem:
            place = f"case {case.name}, {modality} {seen[modality]} ({_described(case, part)})"
            raise BadMedia(f"{place}: {type(problem).__name__}: {problem}") from problem
        seen[modality] += 1
    return tuple(media)


def _image(case: Case, part: ImagePart) -> Image:
    if isinstance(part.image, ImageRecipe):
        return draw_image(part.image)
    with PIL.Image.open(io.BytesIO(_content(case, part.image))) as image:
        image.load()
        return image


def _video(case: Case, part: VideoPart) -> Video:
    if isinstance(part.video, VideoRecipe):
        return Video(draw_frames(part.video), part.video.fps)
    return _decode(_content(case, part.video))


def _audio(case: Case, part: AudioPart) -> Audio:
    if isinstance(part.audio, AudioRecipe):
        return Audio(draw_sound(part.audio), part.audio.rate)
    return _decode_sound(_content(case, part.audio))


_LOADERS: dict[Modality, Callable[[Case, Any], Media]] = {"image": _image, "video": _video, "audio": _audio}


def _decode(content: bytes) -> Video:
    import av

    try:
        with av.open(io.BytesIO(content)) as container:
            stream = next(iter(container.streams.video), None)
            frames = (
                [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)] if stream else []
            )
            rate = stream.average_rate if stream else None
    except av.error.FFmpegError as problem:
        raise ValueError(str(problem)) from problem
    if not frames or not rate:
        raise ValueError(f"no video: {len(frames)} frames at a rate of {rate}")
    return Video(np.stack(frames), float(rate))


def _decode_sound(content: bytes) -> Audio:
    """All channels mixed to one, at the rate of the file."""
    import av

    try:
        with av.open(io.BytesIO(content)) as container:
            stream = next(iter(container.streams.audio), None)
            if stream is None:
                raise ValueError("no sound")
            resampler = av.AudioResampler(format="flt", layout="mono", rate=stream.rate)
            pieces = [
                piece.to_ndarray().reshape(-1)
                for frame in (*container.decode(audio=0), None)
                for piece in resampler.resample(frame)
            ]
            rate = stream.rate
    except av.error.FFmpegError as problem:
        raise ValueError(str(problem)) from problem
    if not pieces:
        raise ValueError("a sound without samples")
    return Audio(np.concatenate(pieces), rate)


def _content(case: Case, source: MediaFile | DataUrl) -> bytes:
    if isinstance(source, MediaFile):
        return case.resolve(source).read_bytes()
    return base64.b64decode(source.url.partition(",")[2], validate=True)


def _described(case: Case, part: MediaPart) -> str:
    source = part.source
    if isinstance(source, MediaFile):
        return str(case.resolve(source))
    if isinstance(source, DataUrl):
        return source.url.partition(",")[0]
    return f"sound {source.sound}" if isinstance(source, AudioRecipe) else f"pattern {source.pattern}"
