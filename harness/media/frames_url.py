"""A decoded video as one URL, in the form that vLLM's and LMDeploy's chats take for single frames."""

from __future__ import annotations

import base64
import io

import numpy as np
import PIL.Image

from harness.media.load import Video


def frames_url(video: Video) -> str:
    """``data:video/jpeg;base64,<frame>,<frame>,...`` with every frame as a PNG.

    The form is named for JPEG, but the engines have Pillow find out what a frame is, and PNG keeps
    every bit. It carries no frame rate.
    """
    return "data:video/jpeg;base64," + ",".join(_png(frame) for frame in video.frames)


def common_rate(videos: list[Video]) -> float | None:
    """The frame rate of all videos, in frames a second; None where there is no video.

    Raises:
        ValueError: they differ. The engines take one rate a request in this form.
    """
    rates = sorted({video.fps for video in videos})
    if len(rates) > 1:
        raise ValueError(f"single frames go with one frame rate a request, and the videos have {rates}")
    return rates[0] if rates else None


def _png(frame: np.ndarray) -> str:
    buffer = io.BytesIO()
    PIL.Image.fromarray(frame).save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode()
