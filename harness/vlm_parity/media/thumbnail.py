"""Small pictures of the media, for the report."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image

from vlm_parity.media.load import DecodedAudio, DecodedVideo, EncodedMedium, Image, Media

SIDE = 160
"""Pixels: the longest side of a picture."""
FRAMES = 6
FRAME_SIDE = 80
"""Pixels: the longest side of a frame in a strip."""
GAP = 2
"""Pixels between frames."""


def render_thumbnail(medium: Media) -> bytes:
    """A PNG: the picture within 160 x 160 pixels; at most six frames of the video, first and last among
    them, side by side; or the loudness of the sound over time.
    """
    if isinstance(medium, EncodedMedium):
        medium = medium.decoded()
    if isinstance(medium, DecodedAudio):
        small = _draw_waveform(medium)
    else:
        small = _draw_strip(medium) if isinstance(medium, DecodedVideo) else _shrink_image(medium, SIDE)
    file = io.BytesIO()
    small.save(file, "PNG", optimize=True)
    return file.getvalue()


def _shrink_image(image: Image, side: int) -> Image:
    if image.mode == "I;16":  # Pillow would cut it off at 255
        image = PIL.Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    copy = image.convert("RGBA" if image.has_transparency_data else "RGB")
    copy.thumbnail((side, side))
    return copy


def _draw_strip(video: DecodedVideo) -> Image:
    taken = np.linspace(0, len(video.frames) - 1, min(FRAMES, len(video.frames))).astype(int)
    frames = [_shrink_image(PIL.Image.fromarray(video.frames[place]), FRAME_SIDE) for place in taken]
    width, height = frames[0].size
    strip = PIL.Image.new("RGB", ((width + GAP) * len(frames) - GAP, height), "white")
    for place, frame in enumerate(frames):
        strip.paste(frame, (place * (width + GAP), 0))
    return strip


def _draw_waveform(sound: DecodedAudio) -> Image:
    """The peaks of 160 equal pieces, as bars around the middle."""
    pieces = np.array_split(np.abs(sound.samples), min(SIDE, len(sound.samples)))
    peaks = np.array([piece.max() for piece in pieces]).clip(0, 1)
    half = FRAME_SIDE // 2
    rows = np.abs(np.arange(-half, half))[:, None]
    inked = rows <= peaks[None, :] * (half - 1)
    return PIL.Image.fromarray(np.where(inked, 60, 255).astype(np.uint8))
