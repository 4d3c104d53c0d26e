"""How a medium is written into a file, for cases whose media the sides open by themselves."""

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
"""What the formats hold, of what Pillow writes and reads again in the same mode."""
WITH_EXIF: frozenset[ImageFormat] = frozenset({"png", "jpeg", "webp", "tiff"})


class ImageEncoding(Record):
    """A picture file. ``RGBA`` and ``LA`` grow opaque from left to right, ``P`` is a palette of which one
    entry is transparent; a GIF in ``RGB`` is a palette without one.
    """

    format: ImageFormat
    mode: ImageMode = "RGB"
    orientation: Annotated[int, Field(ge=1, le=8)] = 1
    """EXIF: how a reader is to turn the picture; 1 is none, and nothing is written."""

    @model_validator(mode="after")
    def _check_mode(self) -> ImageEncoding:
        if self.mode not in MODES[self.format]:
            raise ValueError(f"{self.format} holds {', '.join(sorted(MODES[self.format]))}, not {self.mode}")
        if self.orientation != 1 and self.format not in WITH_EXIF:
            raise ValueError(f"{self.format} holds no EXIF orientation")
        return self


def _rising(timestamps: tuple[float, ...] | None) -> tuple[float, ...] | None:
    if timestamps and (timestamps[0] != 0 or any(later <= sooner for sooner, later in pairwise(timestamps))):
        raise ValueError("timestamps start at 0 and rise")
    return timestamps


class VideoEncoding(Record):
    """An MP4 file."""

    codec: Codec = "mpeg4"
    timestamps: Annotated[tuple[float, ...] | None, AfterValidator(_rising)] = None
    """Seconds at which each frame begins, for a variable frame rate; by default evenly at the recipe's."""
