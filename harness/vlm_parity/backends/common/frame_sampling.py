"""Frames that a loader selected from video files, read from its metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vlm_parity.backends.base import CapturedMedium
from vlm_parity.schema.trace import FrameSampling
from vlm_parity.util.errors import PrivateApiChangedError

_NAMES = ("total_num_frames", "fps", "frames_indices", "video_backend")


def read_frame_sampling(metadata: Mapping[str, Any]) -> FrameSampling:
    """Read the frame sampling of a video from metadata with the names of transformers' ``VideoMetadata``.

    Raises:
        PrivateApiChangedError: a name is missing.
    """
    missing = [name for name in _NAMES if name not in set(metadata) or metadata[name] is None]
    if missing:
        raise PrivateApiChangedError(f"a video's metadata lack {', '.join(missing)}")
    return FrameSampling(
        decoder=metadata["video_backend"],
        total=int(metadata["total_num_frames"]),
        fps=float(metadata["fps"]),
        indices=tuple(int(index) for index in metadata["frames_indices"]),
    )


def add_frame_sampling(
    media: tuple[CapturedMedium, ...] | None, frame_samplings: Sequence[FrameSampling]
) -> tuple[CapturedMedium, ...] | None:
    """Return the media with the frame sampling of each video.

    Args:
        media: all media of a case.
        frame_samplings: one for each video, in order; or none at all.
    """
    if media is None or not frame_samplings:
        return media
    return tuple(
        replace(medium, frame_sampling=frame_samplings[medium.item]) if medium.modality == "video" else medium
        for medium in media
    )
