"""File encodings of media, for cases whose media both sides decode themselves."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from vlm_parity.schema.record import Record

ImageFormat = Literal["png", "jpeg", "webp", "gif", "bmp", "tiff"]
ImageMode = Literal["RGB", "RGBA", "P", "L", "LA", "CMYK", "I;16"]
Codec = Literal["mpeg4", "h264"]

MODES: dict[ImageFormat, frozenset[ImageMode]] = {
    "png": frozenset({"RGB", "RGBA", "P", "L", "LA", "I;16"}),
    "jpeg": frozenset({"RGB", "L", "CMYK"}),
    "webp": frozenset({"RGB", "RGBA"}),
    "gif": frozenset({"RGB", "P", "L"}),
    "bmp": frozenset({"RGB", "L"}),
    "tiff": frozenset({"RGB", "RGBA", "L", "LA", "CMYK", "I;16"}),
}
"""Modes of each format that Pillow writes and reads back unchanged."""
WITH_EXIF: frozenset[ImageFormat] = frozenset({"png", "jpeg", "webp", "tiff"})


class ImageEncoding(Record):
    """An image file.

    Opacity grows from left to right in ``RGBA`` and ``LA``; ``P`` is a palette with one transparent entry. A
    GIF in ``RGB`` is a palette without transparency.
    """

    format: ImageFormat
    mode: ImageMode = "RGB"
    orientation: Annotated[int, Field(strict=True, ge=1, le=8)] = 1
    """EXIF orientation that a decoder has to apply; for 1 (none) no tag is written."""

    @model_validator(mode="after")
    def _check_mode(self) -> ImageEncoding:
        if self.mode not in MODES[self.format]:
            raise ValueError(
                f"{self.format} supports {', '.join(sorted(MODES[self.format]))}, not {self.mode}"
            )
        if self.orientation != 1 and self.format not in WITH_EXIF:
            raise ValueError(f"{self.format} does not support an EXIF orientation")
        return self


MIN_FRAME_DURATION = 0.001
"""Seconds; shorter frames would be written at one time."""
Timestamp = Annotated[float, Field(strict=True, ge=0, le=3600)]
"""Seconds, up to an hour."""


def _rising(timestamps: tuple[float, ...] | None) -> tuple[float, ...] | None:
    if timestamps and timestamps[0] != 0:
        raise ValueError("timestamps must start at 0")
    for sooner, later in pairwise(timestamps or ()):
        if round(later - sooner, 6) < MIN_FRAME_DURATION:
            raise ValueError(f"timestamps must increase, by {MIN_FRAME_DURATION} seconds or more")
    return timestamps


class VideoEncoding(Record):
    """An MP4 file."""

    codec: Codec = "mpeg4"
    timestamps: Annotated[tuple[Timestamp, ...] | None, AfterValidator(_rising)] = None
    """Start of each frame in seconds, for a variable frame rate; by default the recipe's constant rate."""
