"""Sources of a case's media: a recipe, a file, or a data URL; plain data."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from vlm_parity.schema.media_encoding import ImageEncoding, VideoEncoding
from vlm_parity.schema.record import Record

Pattern = Literal["gradient", "checkerboard", "text", "plain"]


Waveform = Literal["tone", "sweep", "noise"]


Pixels = Annotated[int, Field(ge=1, le=16384)]


class ImageRecipe(Record):
    """An image computed from numbers alone; ``vlm_parity.media.draw_images`` defines the patterns."""

    pattern: Pattern
    size: tuple[Pixels, Pixels]
    """Width and height in pixels."""
    seed: int = 0
    text: str = ""
    """The text drawn by the pattern ``text``."""
    encoded: ImageEncoding | None = None
    """The file that both sides receive and decode themselves; without it they receive pixels."""


class AudioRecipe(Record):
    """Audio computed from numbers alone; ``vlm_parity.media.draw_audio`` defines the waveforms."""

    waveform: Waveform
    seconds: Annotated[float, Field(gt=0, le=600)]
    rate: Annotated[int, Field(ge=8000, le=48000)] = 16000
    """Samples per second."""
    seed: int = 0


class VideoRecipe(Record):
    """A video computed from numbers alone."""

    pattern: Pattern
    size: tuple[Pixels, Pixels]
    """Width and height in pixels."""
    frames: Annotated[int, Field(ge=1, le=4096)]
    fps: Annotated[float, Field(gt=0)] = 2.0
    seed: int = 0
    text: str = ""
    encoded: VideoEncoding | None = None
    """The file that both sides receive, decode and sample themselves; without it they receive all frames."""
    audio_track: AudioRecipe | None = None
    """Audio of the video; the model receives it through ``use_audio_in_video``."""

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


class MediaFile(Record):
    """A file, relative to the folder of the case."""

    file: str
    encoded: bool = False
    """True if both sides receive the file itself; by default the harness decodes it for them."""


class DataUrl(Record):
    """A medium within the case file, as ``data:<type>;base64,...``."""

    url: Annotated[str, Field(pattern=r"^data:[\w.+-]+/[\w.+-]+;base64,")]
    encoded: bool = False
    """As in ``MediaFile``."""


class MaxSizeMedium(Record):
    """The largest medium that the engine under test reserves space for.

    ``vlm_parity.schema.max_media`` replaces it by the medium that the engine reports.
    """

    max_size: Literal[True]
    encoded: ClassVar[bool] = False


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
]


VideoSource = Annotated[
    Annotated[VideoRecipe, Tag("<pattern>")]
    | Annotated[MediaFile, Tag("<file>")]
    | Annotated[DataUrl, Tag("<url>")]
    | Annotated[MaxSizeMedium, Tag("<max_size>")],
    Discriminator(_source_kind),
]


AudioSource = Annotated[
    Annotated[AudioRecipe, Tag("<waveform>")]
    | Annotated[MediaFile, Tag("<file>")]
    | Annotated[DataUrl, Tag("<url>")]
    | Annotated[MaxSizeMedium, Tag("<max_size>")],
    Discriminator(_audio_kind),
]


Source = ImageRecipe | VideoRecipe | AudioRecipe | MediaFile | DataUrl | MaxSizeMedium
