"""Decoded media, as they are handed to the backends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import PIL.Image

Image = PIL.Image.Image


@dataclass(frozen=True)
class Video:
    """A decoded video, all frames taken: backends must not sample it again."""

    frames: np.ndarray
    """uint8 [frames, height, width, 3], RGB"""
    fps: float
    """Frames a second."""

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.frames) / self.fps
