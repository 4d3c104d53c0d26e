"""Media in the form that backends receive: decoded, or as files that each backend decodes itself."""

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
    """Decoded audio with one channel."""

    samples: np.ndarray
    """float32 [samples], from -1 to 1."""
    rate: int
    """Samples a second."""

    @property
    def duration(self) -> float:
        """Duration in seconds."""
        return len(self.samples) / self.rate


@dataclass(frozen=True)
class DecodedVideo:
    """A decoded video with all its frames; backends must not sample them again."""

    frames: np.ndarray
    """uint8 [frames, height, width, 3], RGB."""
    fps: float
    """Frames a second."""
    audio_track: DecodedAudio | None = None
    """Audio of the video, if it is passed to the model."""

    @property
    def duration(self) -> float:
        """Duration in seconds."""
        return len(self.frames) / self.fps


@dataclass(frozen=True)
class EncodedMedium:
    """A medium as an encoded file.

    Decoding it and sampling its frames are up to the backends, and one of their differences.
    """

    modality: Modality
    content: bytes
    mime: str
    """``image/png``, ``video/mp4``"""

    @property
    def suffix(self) -> str:
        """Suffix of a file name: ``.png``; empty if the type is unknown."""
        return mimetypes.guess_extension(self.mime) or ""

    def build_url(self) -> str:
        """Build the data URL: ``data:image/png;base64,...``."""
        return f"data:{self.mime};base64,{base64.b64encode(self.content).decode()}"

    def decode(self) -> Image | DecodedVideo:
        """Decode the medium like the harness itself: an image in its own mode, a video with all its frames.

        Raises:
            OSError: the content is not an image.
            ValueError: the content is not a video.
        """
        return _decode_image(self.content) if self.modality == "image" else _decode_video(self.content)


Media = Image | DecodedVideo | DecodedAudio | EncodedMedium


def load_media(case: Case) -> tuple[Media, ...]:
    """Load the media of a case, in the order of the conversation, decoded unless the case requests files.

    Images from files keep their mode (RGBA, palette, 16 bits): converting them to RGB is up to the backends,
    and one of their differences. Recipes that are not encoded are RGB.

    Raises:
        MediaError: a file is missing or cannot be decoded, a recipe cannot be drawn, or the case has a medium
            of maximum size whose size is not known yet.
    """
    seen: Counter[str] = Counter()
    media: list[Media] = []
    for modality, part in case.media:
        try:
            if isinstance(part.source, MaxSizeMedium):
                raise ValueError("its size depends on the engine")
            media.append(_LOADERS[modality](case, part))
        except (OSError, ValueError, PIL.Image.DecompressionBombError) as error:
            location = f"case {case.name}, {modality} {seen[modality]} ({_format_source(case, part)})"
            raise MediaError(f"{location}: {type(error).__name__}: {error}") from error
        seen[modality] += 1
    return tuple(media)


def digest_encoded_media(case: Case) -> str:
    """Compute a digest of the files encoded from a case's recipes, which change with encoder versions."""
    sources = [part.source for _, part in case.media]
    recipes = [
        source for source in sources if isinstance(source, ImageRecipe | VideoRecipe) and source.encoded
    ]
    return compute_digest([hashlib.sha256(_encode_medium(recipe).content).hexdigest() for recipe in recipes])


def _load_image(case: Case, part: ImagePart) -> Image | EncodedMedium:
    source = part.image
    assert not isinstance(source, MaxSizeMedium)
    if isinstance(source, ImageRecipe):
        return draw_image(source) if source.encoded is None else _encode_medium(source)
    if source.encoded:
        return EncodedMedium("image", _read_content(case, source), _guess_mime(source))
    return _decode_image(_read_content(case, source))


def _decode_image(content: bytes) -> Image:
    with PIL.Image.open(io.BytesIO(content)) as image:
        image.load()
        return image


def _load_video(case: Case, part: VideoPart) -> DecodedVideo | EncodedMedium:
    source = part.video
    assert not isinstance(source, MaxSizeMedium)
    if isinstance(source, VideoRecipe):
        if source.encoded is None:
            track = source.audio_track
            audio = DecodedAudio(draw_audio(track), track.rate) if track is not None else None
            return DecodedVideo(draw_frames(source), source.fps, audio)
        return _encode_medium(source)
    if source.encoded:
        return EncodedMedium("video", _read_content(case, source), _guess_mime(source))
    return _decode_video(_read_content(case, source))


@lru_cache(maxsize=64)  # each is requested several times in a session
def _encode_medium(recipe: ImageRecipe | VideoRecipe) -> EncodedMedium:
    assert recipe.encoded is not None
    if isinstance(recipe, ImageRecipe):
        content = encode_image(draw_image(recipe), recipe.encoded)
        return EncodedMedium("image", content, f"image/{recipe.encoded.format}")
    return EncodedMedium(
        "video", encode_frames(draw_frames(recipe), recipe.fps, recipe.encoded), MIME_OF_VIDEO
    )


def _load_audio(case: Case, part: AudioPart) -> DecodedAudio:
    source = part.audio
    assert not isinstance(source, MaxSizeMedium)
    if isinstance(source, AudioRecipe):
        return DecodedAudio(draw_audio(source), source.rate)
    return _decode_audio(_read_content(case, source))


_LOADERS: dict[Modality, Callable[[Case, Any], Media]] = {
    "image": _load_image,
    "video": _load_video,
    "audio": _load_audio,
}


def _decode_video(content: bytes) -> DecodedVideo:
    import av

    try:
        with av.open(io.BytesIO(content)) as container:
            stream = next(iter(container.streams.video), None)
            frames = (
                [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)] if stream else []
            )
            rate = stream.average_rate if stream else None
    except av.error.FFmpegError as error:
        raise ValueError(str(error)) from error
    if not frames or not rate:
        raise ValueError(f"no video: {len(frames)} frames at a rate of {rate}")
    return DecodedVideo(np.stack(frames), float(rate))


def _decode_audio(content: bytes) -> DecodedAudio:
    """Decode audio at the rate of the file, with all channels mixed to one."""
    import av

    try:
        with av.open(io.BytesIO(content)) as container:
            stream = next(iter(container.streams.audio), None)
            if stream is None:
                raise ValueError("no audio")
            resampler = av.AudioResampler(format="flt", layout="mono", rate=stream.rate)
            pieces = [
                piece.to_ndarray().reshape(-1)
                for frame in (*container.decode(audio=0), None)
                for piece in resampler.resample(frame)
            ]
            rate = stream.rate
    except av.error.FFmpegError as error:
        raise ValueError(str(error)) from error
    if not pieces:
        raise ValueError("audio without samples")
    return DecodedAudio(np.concatenate(pieces), rate)


def _read_content(case: Case, source: MediaFile | DataUrl) -> bytes:
    if isinstance(source, MediaFile):
        return case.resolve(source).read_bytes()
    return base64.b64decode(source.url.partition(",")[2], validate=True)


def _guess_mime(source: MediaFile | DataUrl) -> str:
    """Return the type in the data URL, or the one that the file name suggests."""
    if isinstance(source, DataUrl):
        return source.url.removeprefix("data:").partition(";")[0]
    return mimetypes.guess_type(source.file)[0] or "application/octet-stream"


def _format_source(case: Case, part: MediaPart) -> str:
    source = part.source
    if isinstance(source, MediaFile):
        return str(case.resolve(source))
    if isinstance(source, DataUrl):
        return source.url.partition(",")[0]
    if isinstance(source, MaxSizeMedium):
        return "maximum size"
    return f"waveform {source.waveform}" if isinstance(source, AudioRecipe) else f"pattern {source.pattern}"
