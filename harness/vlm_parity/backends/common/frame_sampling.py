"""Which frames a side took from its video files, of what its loader says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vlm_parity.backends.base import Medium
from vlm_parity.schema.trace import Sampling
from vlm_parity.util.errors import PrivateApiChangedError

_NAMES = ("total_num_frames", "fps", "frames_indices", "video_backend")


def sampling_of(metadata: Mapping[str, Any]) -> Sampling:
    """A video's, from metadata under the names of transformers' ``VideoMetadata``.

    Raises:
        PrivateApiChangedError: a name is missing.
    """
    missing = [name for name in _NAMES if name not in set(metadata) or metadata[name] is None]
    if missing:
        raise PrivateApiChangedError(f"a video's metadata lack {', '.join(missing)}")
    return Sampling(
        decoder=metadata["video_backend"],
        total=int(metadata["total_num_frames"]),
        fps=float(metadata["fps"]),
        indices=tuple(int(index) for index in metadata["frames_indices"]),
    )


def with_sampling(media: tuple[Medium, ...] | None, found: Sequence[Sampling]) -> tuple[Medium, ...] | None:
    """The media, each video with its own of ``found``, which is in the order of the videos or empty."""
    if media is None or not found:
        return media
    return tuple(
        replace(medium, sampling=found[medium.item]) if medium.modality == "video" else medium
        for medium in media
    )
