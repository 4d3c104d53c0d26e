"""A decoded picture as one URL, in the form that the engines' chats take."""

from __future__ import annotations

import base64
import io

from harness.media.load import Image


def image_url(image: Image) -> str:
    """``data:image/png;base64,...``: every bit, its mode and how it is to be turned.

    Raises:
        OSError: PNG has no such mode.
    """
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1, exif=image.getexif())
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
