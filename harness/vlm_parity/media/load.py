"""Media as they are handed to the backends: decoded, or as the files that a backend opens by itself."""

from __future__ import annotations

import base64
import hashlib
import io
import mimetypes
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import PIL.Image

from vlm_parity.media.draw_audio import draw_audio
from vlm_parity.media.draw_images import draw_frames, draw_image
from vlm_parity.media.encode import MIME_OF_VIDEO, encode_frames, encode_image
from vlm_parity.schema.case import AudioPart, Case, ImagePart, MediaPart, Modality, VideoPart
from vlm_parity.schema.media_source import (
    AudioRecipe,
    DataUrl,
    ImageRecipe,
    MaxSizeMedium,
    MediaFile,
    VideoRecipe,
)
from vlm_parity.schema.record import compute_digest
from vlm_parity.util.errors import MediaError

Image = PIL.Image.Image


@dataclass(frozen=True)
class DecodedAudio:
    """A decoded sound: one channel."""

    samples: np.ndarray
    """float32 [samples], from -1 to 1"""
    rate: int
    """Samples a second."""

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / self.rate


@dataclass(frozen=True)
class DecodedVideo:
    """A decoded video, all frames taken: backends must not sample it again."""

    frames: np.ndarray
    """uint8 [frames, height, width, 3], RGB"""
    fps: float
    """Frames a second."""
    audio_track: DecodedAudio | None = None
    """What is heard with it, where the model is to hear it."""

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.frames) / self.fps


@dataclass(frozen=True)
class EncodedMedium:
    """A medium as a file that is not opened yet: decoding it, and taking frames from it, is the business of
    the backends, and one of their differences.
    """

    modality: Modality
    content: bytes
    mime: str
    """``image/png``, ``video/mp4``"""

    @property
    def suffix(self) -> str:
        """Of a file name: ``.png``; empty where the type is not known."""
        return mimetypes.guess_extension(self.mime) or ""

    @property
    def url(self) -> str:
        """``data:image/png;base64,...``"""
        return f"data:{self.mime};base64,{base64.b64encode(self.content).decode()}"

    def decoded(self) -> Image | DecodedVideo:
        """As the harness itself decodes it: the picture in its own mode, all frames of the video.

        Raises:
            OSError, ValueError: it cannot be decoded.
        """
        return _open_image(self.content) if self.modality == "image" else _decode(self.content)


Media = Image | DecodedVideo | DecodedAudio | EncodedMedium


def load_media(case: Case) -> tuple[Media, ...]:
    """The media of a case, in the order of the conversation: decoded, but for those that the case has
    encoded.

    Pictures from files keep their mode (RGBA, palette, 16 bits): turning them into RGB is the
    business of the backends, and one of their differences. Recipes that are not encoded are RGB.

    Raises:
        MediaError: a file is missing or cannot be decoded, a recipe cannot be drawn, or no engine has said yet
            what the case's largest medium is.
    """
    seen: Counter[str] = Counter()
    media: list[Media] = []
    for modality, part in case.media:
        try:
            if isinstance(part.source, MaxSizeMedium):
                raise ValueError("no engine has said yet which it is")
            media.append(_LOADERS[modality](case, part))
        except (OSError, ValueError, PIL.Image.DecompressionBombError) as problem:
            place = f"case {case.name}, {modality} {seen[modality]} ({_format_error(case, part)})"
            raise MediaError(f"{place}: {type(problem).__name__}: {problem}") from problem
        seen[modality] += 1
    return tuple(media)


def digest_encoded_media(case: Case) -> str:
    """Identifies the files that are made of a case's recipes: they change with the encoders' versions."""
    sources = [part.source for _, part in case.media]
    recipes = [each for each in sources if isinstance(each, ImageRecipe | VideoRecipe) and each.encoded]
    return compute_digest([hashlib.sha256(_encode_medium(recipe).content).hexdigest() for recipe in recipes])


def _image(case: Case, part: ImagePart) -> Image | EncodedMedium:
    source = part.image
    assert not isinstance(source, MaxSizeMedium)
    if isinstance(source, ImageRecipe):
        return draw_image(source) if source.encoded is None else _encode_medium(source)
    if source.encoded:
        return EncodedMedium("image", _read_content(case, source), _guess_mime(source))
    return _open_image(_read_content(case, source))


def _open_image(content: bytes) -> Image:
    with PIL.Image.open(io.BytesIO(content)) as image:
        image.load()
        return image


def _video(case: Case, part: VideoPart) -> DecodedVideo | EncodedMedium:
    source = part.video
    assert not isinstance(source, MaxSizeMedium)
    if isinstance(source, VideoRecipe):
        if source.encoded is None:
            track = source.audio_track
            heard = DecodedAudio(draw_audio(track), track.rate) if track is not None else None
            return DecodedVideo(draw_frames(source), source.fps, heard)
        return _encode_medium(source)
    if source.encoded:
        return EncodedMedium("video", _read_content(case, source), _guess_mime(source))
    return _decode(_read_content(case, source))


@lru_cache(maxsize=64)  # a session asks for each several times
def _encode_medium(recipe: ImageRecipe | VideoRecipe) -> EncodedMedium:
    assert recipe.encoded is not None
    if isinstance(recipe, ImageRecipe):
        content = encode_image(draw_image(recipe), recipe.encoded)
        return EncodedMedium("image", content, f"image/{recipe.encoded.format}")
    return EncodedMedium(
        "video", encode_frames(draw_frames(recipe), recipe.fps, recipe.encoded), MIME_OF_VIDEO
    )


def _audio(case: Case, part: AudioPart) -> DecodedAudio:
    source = part.audio
    assert not isinstance(source, MaxSizeMedium)
    if isinstance(source, AudioRecipe):
        return DecodedAudio(draw_audio(source), source.rate)
    return _decode_audio(_read_content(case, source))


_LOADERS: dict[Modality, Callable[[Case, Any], Media]] = {"image": _image, "video": _video, "audio": _audio}


def _decode(content: bytes) -> DecodedVideo:
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
    return DecodedVideo(np.stack(frames), float(rate))


def _decode_audio(content: bytes) -> DecodedAudio:
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
    return DecodedAudio(np.concatenate(pieces), rate)


def _read_content(case: Case, source: MediaFile | DataUrl) -> bytes:
    if isinstance(source, MediaFile):
        return case.resolve(source).read_bytes()
    return base64.b64decode(source.url.partition(",")[2], validate=True)


def _guess_mime(source: MediaFile | DataUrl) -> str:
    """The type that the URL names, or that belongs to the file's name."""
    if isinstance(source, DataUrl):
        return source.url.removeprefix("data:").partition(";")[0]
    return mimetypes.guess_type(source.file)[0] or "application/octet-stream"


def _format_error(case: Case, part: MediaPart) -> str:
    source = part.source
    if isinstance(source, MediaFile):
        return str(case.resolve(source))
    if isinstance(source, DataUrl):
        return source.url.partition(",")[0]
    if isinstance(source, MaxSizeMedium):
        return "the largest"
    return f"waveform {source.waveform}" if isinstance(source, AudioRecipe) else f"pattern {source.pattern}"
