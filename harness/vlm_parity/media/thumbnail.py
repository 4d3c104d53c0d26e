"""Thumbnails of media for the report."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image

from vlm_parity.media.load import (
    DecodedAudio,
    DecodedVideo,
    EncodedMedium,
    Image,
    Media,
    load_media,
    locate_errors,
)
from vlm_parity.schema.case import Case
from vlm_parity.util.errors import DecodeError

SIDE = 160
"""Longest side of an image, in pixels."""
FRAMES = 6
"""Maximum number of frames in a strip."""
FRAME_SIDE = 80
"""Longest side of a frame in a strip, in pixels."""
GAP = 2
"""Distance between frames, in pixels."""


def render_thumbnails(case: Case) -> list[bytes | str]:
    """Render a thumbnail of each medium of a case, in the order of the conversation.

    Returns:
        For each medium a PNG; of a file that each side decodes itself and that is broken, the reason.

    Raises:
        CaseError, MediaError: a medium cannot be loaded.
    """
    thumbnails: list[bytes | str] = []
    for index, medium in enumerate(load_media(case)):
        with locate_errors(case, index):
            try:
                thumbnails.append(render_thumbnail(medium))
            except DecodeError as error:
                if not isinstance(medium, EncodedMedium):
                    raise
                thumbnails.append(str(error))
    return thumbnails


def render_thumbnail(medium: Media) -> bytes:
    """Render a PNG of at most 160 pixels a side for an image; frames side by side, or loudness over time.

    A video has at most six frames, including the first and the last. Audio is a waveform.
    """
    if isinstance(medium, EncodedMedium):
        medium = medium.decode()
    if isinstance(medium, DecodedAudio):
        thumbnail = _draw_waveform(medium)
    else:
        thumbnail = _draw_strip(medium) if isinstance(medium, DecodedVideo) else _shrink_image(medium, SIDE)
    file = io.BytesIO()
    thumbnail.save(file, "PNG", optimize=True)
    return file.getvalue()


def _shrink_image(image: Image, side: int) -> Image:
    if image.mode == "I;16":  # Pillow would clip it at 255
        image = PIL.Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    copy = image.convert("RGBA" if image.has_transparency_data else "RGB")
    copy.thumbnail((side, side))
    return copy


def _draw_strip(video: DecodedVideo) -> Image:
    indices = np.linspace(0, len(video.frames) - 1, min(FRAMES, len(video.frames))).astype(int)
    frames = [_shrink_image(PIL.Image.fromarray(video.frames[index]), FRAME_SIDE) for index in indices]
    width, height = frames[0].size
    strip = PIL.Image.new("RGB", ((width + GAP) * len(frames) - GAP, height), "white")
    for index, frame in enumerate(frames):
        strip.paste(frame, (index * (width + GAP), 0))
    return strip


def _draw_waveform(audio: DecodedAudio) -> Image:
    """Draw the peaks of 160 equal pieces as bars around the middle."""
    pieces = np.array_split(np.abs(audio.samples), min(SIDE, len(audio.samples)))
    peaks = np.array([piece.max() for piece in pieces]).clip(0, 1)
    half = FRAME_SIDE // 2
    rows = np.abs(np.arange(-half, half))[:, None]
    is_bar = rows <= peaks[None, :] * (half - 1)
    return PIL.Image.fromarray(np.where(is_bar, 60, 255).astype(np.uint8))
