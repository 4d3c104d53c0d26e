"""Sources of a case's media: a recipe, a file, or a data URL; plain data."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from vlm_parity.schema.media_encoding import ImageEncoding, VideoEncoding
from vlm_parity.schema.media_limits import (
    BYTES_PER_IMAGE_PIXEL,
    BYTES_PER_PIXEL,
    BYTES_PER_SAMPLE,
    MAX_AUDIO_SECONDS,
    MAX_FRAMES,
    MAX_SIDE,
    check_bytes,
    check_pixels,
)
from vlm_parity.schema.record import Record

Pattern = Literal["gradient", "checkerboard", "text", "plain"]


Waveform = Literal["tone", "sweep", "noise"]


Pixels = Annotated[int, Field(strict=True, ge=1, le=MAX_SIDE)]
FrameRate = Annotated[float, Field(strict=True, ge=0.001, le=1000)]
"""Frames per second."""
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**32)]
Text = Annotated[str, Field(max_length=1000)]
"""A text to draw; one that is longer than any image would be drawn at its full size first."""
IsEncoded = Annotated[bool, Field(strict=True)]


class ImageRecipe(Record):
    """An image computed from numbers alone; ``vlm_parity.media.draw_images`` defines the patterns."""

    pattern: Pattern
    size: tuple[Pixels, Pixels]
    """Width and height in pixels."""
    seed: Seed = 0
    text: Text = ""
    """The text drawn by the pattern ``text``."""
    encoded: ImageEncoding | None = None
    """The file that both sides receive and decode themselves; without it they receive pixels."""

    @property
    def decoded_bytes(self) -> int:
        """The size of the pixels."""
        return self.size[0] * self.size[1] * BYTES_PER_IMAGE_PIXEL

    @model_validator(mode="after")
    def _check_size(self) -> ImageRecipe:
        check_pixels(*self.size)
        return self


class AudioRecipe(Record):
    """Audio computed from numbers alone; ``vlm_parity.media.draw_audio`` defines the waveforms."""

    waveform: Waveform
    seconds: Annotated[float, Field(strict=True, gt=0, le=MAX_AUDIO_SECONDS)]
    rate: Annotated[int, Field(strict=True, ge=8000, le=48000)] = 16000
    """Samples per second."""
    seed: Seed = 0

    @property
    def decoded_bytes(self) -> int:
        """The size of the samples."""
        return round(self.seconds * self.rate) * BYTES_PER_SAMPLE


class VideoRecipe(Record):
    """A video computed from numbers alone."""

    pattern: Pattern
    size: tuple[Pixels, Pixels]
    """Width and height in pixels."""
    frames: Annotated[int, Field(strict=True, ge=1, le=MAX_FRAMES)]
    fps: FrameRate = 2.0
    seed: Seed = 0
    text: Text = ""
    encoded: VideoEncoding | None = None
    """The file that both sides receive, decode and sample themselves; without it they receive all frames."""
    audio_track: AudioRecipe | None = None
    """Audio of the video; the model receives it through ``use_audio_in_video``."""

    @property
    def decoded_bytes(self) -> int:
        """The size of all frames and of the audio track."""
        audio = 0 if self.audio_track is None else self.audio_track.decoded_bytes
        return self.size[0] * self.size[1] * self.frames * BYTES_PER_PIXEL + audio

    @model_validator(mode="after")
    def _check_size(self) -> VideoRecipe:
        check_pixels(*self.size)
        check_bytes(self.decoded_bytes, f"{self.frames} frames")
        return self

    @model_validator(mode="after")
    def _check_encoding(self) -> VideoRecipe:
        if self.encoded is None:
            return self
        if self.audio_track is not None:
            raise ValueError(
                "a video with an audio track cannot be encoded: no side reads the audio of a file"
            )
        if any(side % 2 for side in self.size):
            raise ValueError("an encoded video needs even sides: its colors are stored for 2 x 2 pixels")
        timestamps = self.encoded.timestamps
        if timestamps is not None and len(timestamps) != self.frames:
            raise ValueError(f"{len(timestamps)} timestamps for {self.frames} frames")
        return self


MediaRecipe = ImageRecipe | VideoRecipe | AudioRecipe


class MediaFile(Record):
    """A file, relative to the folder of the case."""

    file: Annotated[str, Field(min_length=1)]
    encoded: IsEncoded = False
    """True if both sides receive the file itself; by default the harness decodes it for them."""


_DATA_URL = r"^data:[\w.+-]+/[\w.+-]+;base64,"


def _check_data_url(value: Any) -> Any:
    if isinstance(value, str) and not re.match(_DATA_URL, value):
        raise ValueError("must be a data URL, as in data:image/png;base64,...; a file is {file: NAME}")
    return value


class DataUrl(Record):
    """A medium within the case file, as ``data:<type>;base64,...``."""

    url: Annotated[str, Field(pattern=_DATA_URL), BeforeValidator(_check_data_url)]
    encoded: IsEncoded = False
    """As in ``MediaFile``."""


class MaxSizeMedium(Record):
    """The largest medium that the engine under test reserves space for.

    ``vlm_parity.schema.max_media`` replaces it by the medium that the engine reports.
    """

    max_size: Literal[True]
    encoded: ClassVar[bool] = False


def _check_mapping(value: Any) -> Any:
    if not isinstance(value, dict | Record):
        raise ValueError("must be a mapping: {file: NAME}, {url: DATA_URL}, a recipe, or {max_size: true}")
    return value


def _source_kind(value: Any) -> str:
    keys = value if isinstance(value, dict) else vars(value)
    return next((f"<{key}>" for key in ("file", "url", "max_size") if key in keys), "<pattern>")


def _audio_kind(value: Any) -> str:
    return _source_kind(value).replace("<pattern>", "<waveform>")


ImageSource = Annotated[
    Annotated[ImageRecipe, Tag("<pattern>")]
    | Annotated[MediaFile, Tag("<file>")]
    | Annotated[DataUrl, Tag("<url>")]
    | Annotated[MaxSizeMedium, Tag("<max_size>")],
    Discriminator(_source_kind),
    BeforeValidator(_check_mapping),
]


VideoSource = Annotated[
    Annotated[VideoRecipe, Tag("<pattern>")]
    | Annotated[MediaFile, Tag("<file>")]
    | Annotated[DataUrl, Tag("<url>")]
    | Annotated[MaxSizeMedium, Tag("<max_size>")],
    Discriminator(_source_kind),
    BeforeValidator(_check_mapping),
]


AudioSource = Annotated[
    Annotated[AudioRecipe, Tag("<waveform>")]
    | Annotated[MediaFile, Tag("<file>")]
    | Annotated[DataUrl, Tag("<url>")]
    | Annotated[MaxSizeMedium, Tag("<max_size>")],
    Discriminator(_audio_kind),
    BeforeValidator(_check_mapping),
]


Source = ImageRecipe | VideoRecipe | AudioRecipe | MediaFile | DataUrl | MaxSizeMedium
