"""Media in the form that backends receive: decoded, or as files that each backend decodes itself."""

from __future__ import annotations

import base64
import hashlib
import mimetypes
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from vlm_parity.media.decode import check_image, check_video, decode_audio, decode_image, decode_video
from vlm_parity.media.draw_audio import draw_audio
from vlm_parity.media.draw_images import draw_frames, draw_image
from vlm_parity.media.encode import MIME_OF_VIDEO, encode_frames, encode_image
from vlm_parity.schema.case import AudioPart, Case, ImagePart, MediaPart, Modality, VideoPart
from vlm_parity.schema.media_limits import BYTES_PER_IMAGE_PIXEL, MAX_DECODED_BYTES
from vlm_parity.schema.media_source import (
    AudioRecipe,
    DataUrl,
    ImageRecipe,
    MaxSizeMedium,
    MediaFile,
    VideoRecipe,
)
from vlm_parity.schema.record import compute_digest
from vlm_parity.util.errors import DecodeError, MediaError, ParityError, UnreadableFileError

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
        """Suffix of a file name: ``.png``; empty if the type is unknown, or of another modality.

        By a suffix such as ``.m3u8`` a decoder may take a file for a playlist, which its content is not.
        """
        if not self.mime.startswith(f"{self.modality}/"):
            return ""
        return mimetypes.guess_extension(self.mime) or ""

    def build_url(self) -> str:
        """Build the data URL: ``data:image/png;base64,...``."""
        return f"data:{self.mime};base64,{base64.b64encode(self.content).decode()}"

    def decode(self) -> Image | DecodedVideo:
        """Decode the medium like the harness itself: an image in its own mode, a video with all its frames.

        Raises:
            DecodeError: the content is broken, of an unknown format, or too large.
        """
        if self.modality == "image":
            return decode_image(self.content)
        return DecodedVideo(*decode_video(self.content))


Media = Image | DecodedVideo | DecodedAudio | EncodedMedium


def load_media(case: Case) -> tuple[Media, ...]:
    """Load the media of a case, in the order of the conversation, decoded unless the case requests files.

    Images from files keep their mode (RGBA, palette, 16 bits): converting them to RGB is up to the backends,
    and one of their differences. Recipes that are not encoded are RGB. Files that each backend decodes itself
    are checked first: no engine receives a format or a size that the harness refuses.

    Raises:
        CaseError: a file lies outside of the folders for media.
        MediaError: a file is missing or cannot be decoded, the media are too large, a recipe cannot be drawn,
            or the case has a medium of maximum size whose size is not known yet.
    """
    media: list[Media] = []
    left = MAX_DECODED_BYTES
    for index, (modality, part) in enumerate(case.media):
        with locate_errors(case, index):
            if isinstance(part.source, MaxSizeMedium):
                raise ValueError("its size depends on the engine")
            media.append(_LOADERS[modality](case, part, left))
            left -= _count_bytes(media[-1])
    return tuple(media)


def find_transparent_images(media: Iterable[Media]) -> tuple[int, ...]:
    """Return the indices, among the images, of those with an alpha channel or a transparent color."""
    images = (
        _decode_if_possible(medium) if isinstance(medium, EncodedMedium) else medium
        for medium in media
        if isinstance(medium, Image) or (isinstance(medium, EncodedMedium) and medium.modality == "image")
    )
    return tuple(
        index
        for index, image in enumerate(images)
        if isinstance(image, Image) and image.has_transparency_data
    )


def _decode_if_possible(medium: EncodedMedium) -> Image | DecodedVideo | None:
    """Return the decoded medium, or None if it is broken: what each side makes of that is compared."""
    try:
        return medium.decode()
    except DecodeError:
        return None


@contextmanager
def locate_errors(case: Case, index: int) -> Iterator[None]:
    """Add the case, the item and the file to errors of one of its media.

    Raises:
        MediaError: instead of an error of drawing, reading or decoding.
    """
    try:
        yield
    except (DecodeError, UnreadableFileError, OSError, ValueError) as error:
        media = list(case.media)
        modality, part = media[index]
        number = sum(other == modality for other, _ in media[:index])
        name = "" if isinstance(error, ParityError) else f"{type(error).__name__}: "
        location = f"case {case.name}, {modality} {number} ({_format_source(case, part)})"
        raise MediaError(f"{location}: {name}{error}") from error


def _count_bytes(medium: Media) -> int:
    """Return the memory that a medium takes."""
    if isinstance(medium, EncodedMedium):
        return len(medium.content)
    if isinstance(medium, DecodedAudio):
        return medium.samples.nbytes
    if isinstance(medium, DecodedVideo):
        return medium.frames.nbytes + (medium.audio_track.samples.nbytes if medium.audio_track else 0)
    return medium.width * medium.height * BYTES_PER_IMAGE_PIXEL


def digest_encoded_media(case: Case) -> str:
    """Compute a digest of the files encoded from a case's recipes, which change with encoder versions."""
    sources = [part.source for _, part in case.media]
    recipes = [
        source for source in sources if isinstance(source, ImageRecipe | VideoRecipe) and source.encoded
    ]
    return compute_digest([hashlib.sha256(_encode_medium(recipe).content).hexdigest() for recipe in recipes])


def _load_image(case: Case, part: ImagePart, max_bytes: int) -> Image | EncodedMedium:
    source = part.image
    assert not isinstance(source, MaxSizeMedium)
    if isinstance(source, ImageRecipe):
        return draw_image(source) if source.encoded is None else _encode_medium(source)
    content = _read_content(case, source)
    if source.encoded:
        return EncodedMedium("image", content, _select_type(source, check_image(content)))
    return decode_image(content, max_bytes)


def _load_video(case: Case, part: VideoPart, max_bytes: int) -> DecodedVideo | EncodedMedium:
    source = part.video
    assert not isinstance(source, MaxSizeMedium)
    if isinstance(source, VideoRecipe):
        if source.encoded is None:
            track = source.audio_track
            audio = DecodedAudio(draw_audio(track), track.rate) if track is not None else None
            return DecodedVideo(draw_frames(source), source.fps, audio)
        return _encode_medium(source)
    content = _read_content(case, source)
    if source.encoded:
        return EncodedMedium("video", content, _select_type(source, check_video(content)))
    return DecodedVideo(*decode_video(content, max_bytes))


@lru_cache(maxsize=64)  # each is requested several times in a session
def _encode_medium(recipe: ImageRecipe | VideoRecipe) -> EncodedMedium:
    assert recipe.encoded is not None
    if isinstance(recipe, ImageRecipe):
        content = encode_image(draw_image(recipe), recipe.encoded)
        return EncodedMedium("image", content, f"image/{recipe.encoded.format}")
    return EncodedMedium(
        "video", encode_frames(draw_frames(recipe), recipe.fps, recipe.encoded), MIME_OF_VIDEO
    )


def _load_audio(case: Case, part: AudioPart, max_bytes: int) -> DecodedAudio:
    source = part.audio
    assert not isinstance(source, MaxSizeMedium)
    if isinstance(source, AudioRecipe):
        return DecodedAudio(draw_audio(source), source.rate)
    return DecodedAudio(*decode_audio(_read_content(case, source), max_bytes))


_LOADERS: dict[Modality, Callable[[Case, Any, int], Media]] = {
    "image": _load_image,
    "video": _load_video,
    "audio": _load_audio,
}


def _read_content(case: Case, source: MediaFile | DataUrl) -> bytes:
    if isinstance(source, MediaFile):
        return case.read_file(source)
    try:
        return base64.b64decode(source.url.partition(",")[2], validate=True)
    except ValueError as error:
        raise DecodeError(f"the data URL is not valid: {error}") from error


def _select_type(source: MediaFile | DataUrl, found: str) -> str:
    """Return the MIME type that a client states: of a data URL its own, of a file that of its content.

    The name of a file says nothing: clients read the content, or send what the operating system guesses.
    """
    return source.url.removeprefix("data:").partition(";")[0] if isinstance(source, DataUrl) else found


def _format_source(case: Case, part: MediaPart) -> str:
    source = part.source
    if isinstance(source, MediaFile):
        return str((case.folder or Path()) / source.file)
    if isinstance(source, DataUrl):
        return source.url.partition(",")[0]
    if isinstance(source, MaxSizeMedium):
        return "maximum size"
    return f"waveform {source.waveform}" if isinstance(source, AudioRecipe) else f"pattern {source.pattern}"
