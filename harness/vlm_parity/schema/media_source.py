"""What a medium of a case is made of: a recipe, a file, or a data URL; plain data."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from vlm_parity.schema.media_encoding import ImageEncoding, VideoEncoding
from vlm_parity.schema.record import Record

Pattern = Literal["gradient", "checkerboard", "text", "plain"]


Waveform = Literal["tone", "sweep", "noise"]


Pixels = Annotated[int, Field(ge=1, le=16384)]


class ImageRecipe(Record):
    """A picture made from numbers alone; see ``vlm_parity.media.draw_images`` for the patterns."""

    pattern: Pattern
    size: tuple[Pixels, Pixels]
    """Width and height in pixels."""
    seed: int = 0
    text: str = ""
    """What the pattern ``text`` writes."""
    encoded: ImageEncoding | None = None
    """The file that the sides are handed and open by themselves; without it they are handed the pixels."""


class AudioRecipe(Record):
    """A sound made from numbers alone; see ``vlm_parity.media.draw_audio`` for the kinds."""

    waveform: Waveform
    seconds: Annotated[float, Field(gt=0, le=600)]
    rate: Annotated[int, Field(ge=8000, le=48000)] = 16000
    """Samples a second."""
    seed: int = 0


class VideoRecipe(Record):
    """A moving picture made from numbers alone."""

    pattern: Pattern
    size: tuple[Pixels, Pixels]
    """Width and height in pixels."""
    frames: Annotated[int, Field(ge=1, le=4096)]
    fps: Annotated[float, Field(gt=0)] = 2.0
    seed: int = 0
    text: str = ""
    encoded: VideoEncoding | None = None
    """The file that the sides are handed, open and sample by themselves; without it they are handed all
    frames."""
    audio_track: AudioRecipe | None = None
    """What is heard with it; the model is told to listen (``use_audio_in_video``)."""

    @model_validator(mode="after")
    def _check_encoding(self) -> VideoRecipe:
        if self.encoded is None:
            return self
        if self.audio_track is not None:
            raise ValueError("a video with a sound is not encoded: no side is told to listen to a file")
        if any(side % 2 for side in self.size):
            raise ValueError("an encoded video has even sides: its colours are kept for 2 x 2 pixels")
        timestamps = self.encoded.timestamps
        if timestamps is not None and len(timestamps) != self.frames:
            raise ValueError(f"{len(timestamps)} timestamps for {self.frames} frames")
        return self


class MediaFile(Record):
    """A file, relative to the folder of the case."""

    file: str
    encoded: bool = False
    """Whether the sides are handed the file as it is; otherwise the harness decodes it for them."""


class DataUrl(Record):
    """The medium itself, as ``data:<type>;base64,...``."""

    url: Annotated[str, Field(pattern=r"^data:[\w.+-]+/[\w.+-]+;base64,")]
    encoded: bool = False
    """As in ``MediaFile``."""


class MaxSizeMedium(Record):
    """The largest medium that the engine under test reserves for: it has no size until the engine says which
    (``vlm_parity.schema.max_media``).
    """

    max_size: Literal[True]
    encoded: ClassVar[bool] = False


def _source_kind(value: Any) -> str:
    keys = value if isinstance(value, dict) else vars(value)
    return next((f"<{kind}>" for kind in ("file", "url", "max_size") if kind in keys), "<pattern>")


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
