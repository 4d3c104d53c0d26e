"""Limits on the media of a case, checked before anything is allocated.

A case may come from elsewhere: a few of its characters can describe a video of 200 GB, and a PNG of 100 kB
can hold 100 megapixels. The limits keep the media of one case below 2 GiB in each process. Real media are
smaller: a photograph has 50 megapixels, the largest medium that an engine reserves space for is a video of 4
frames of 3584 x 3584, and models accept audio of 30 seconds to some minutes.
"""

from __future__ import annotations

MAX_SIDE = 16_384
"""Width and height in pixels."""
MAX_IMAGE_PIXELS = 2**26
"""Width x height of an image or of a frame: 67 megapixels."""
MAX_FRAMES = 4096
"""Frames of a video."""
MAX_AUDIO_SECONDS = 600.0
MIN_AUDIO_RATE, MAX_AUDIO_RATE = 1000, 384_000
"""Samples per second of a file. Audio of a lower rate would grow without bounds when it is resampled."""
MAX_DECODED_BYTES = 2 * 2**30
"""All media of a case together, decoded: 10 seconds of 1920 x 1080 at 30 frames per second are 1.9 GB."""
MAX_FILE_BYTES = 256 * 2**20
"""One media file; it is held in memory, and sent to engines as a data URL."""

BYTES_PER_PIXEL = 3
"""Of a decoded frame, in RGB."""
BYTES_PER_IMAGE_PIXEL = 4
"""Of a decoded image: Pillow aligns RGB to four bytes."""
BYTES_PER_SAMPLE = 4
"""Of decoded audio, in float32."""


def check_pixels(width: int, height: int) -> None:
    """Check the size of an image or a frame.

    Raises:
        ValueError: it has no pixels, or more than the limit.
    """
    if min(width, height) < 1:
        raise ValueError(f"{width} x {height} pixels: it is empty")
    if width * height > MAX_IMAGE_PIXELS:
        raise ValueError(
            f"{width} x {height} pixels are {width * height / 1e6:,.0f} megapixels, and the limit is "
            f"{MAX_IMAGE_PIXELS / 1e6:.0f}"
        )


def check_bytes(decoded: float, subject: str) -> None:
    """Check the size of decoded media.

    Args:
        decoded: bytes.
        subject: the media, for the message.

    Raises:
        ValueError: they are more than the limit.
    """
    if decoded > MAX_DECODED_BYTES:
        raise ValueError(
            f"{subject} of {decoded / 2**30:.1f} GiB when decoded; all media of a case together may have "
            f"{MAX_DECODED_BYTES / 2**30:.0f} GiB"
        )
