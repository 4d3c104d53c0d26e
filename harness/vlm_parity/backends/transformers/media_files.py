"""Media files, opened by transformers' own loaders with their defaults."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import signature
from pathlib import Path
from typing import Any

from vlm_parity.backends.common.frame_sampling import read_frame_sampling
from vlm_parity.media.load import EncodedMedium, Image, Media
from vlm_parity.schema.trace import FrameSampling

PYAV = "videos: opened by load_video with its default, PyAV, because torchcodec is not installed"


def write_media_files(media: Iterable[Media], folder: Path) -> list[Media | str]:
    """Prepare media files for a transformers processor.

    Args:
        media: of a case; decoded ones are returned unchanged.
        folder: for the video files.

    Returns:
        The media, with image files opened by ``load_image`` and video files as paths: the processor opens and
        samples them.
    """
    return [
        _write_media_file(medium, folder / str(index)) if isinstance(medium, EncodedMedium) else medium
        for index, medium in enumerate(media)
    ]


def _write_media_file(medium: EncodedMedium, path: Path) -> Image | str:
    from transformers.image_utils import load_image

    if medium.modality == "image":
        image: Image = load_image(medium.build_url())
        return image
    file = path.with_suffix(medium.suffix)
    file.write_bytes(medium.content)
    return str(file)


class VideoFileReader:
    """A recorder of the frame sampling while a processor opens video files.

    The processor decodes with torchcodec, or with a torchvision that still has a decoder (``fetch_videos`` of
    ``VideoProcessorMixin``). If both are missing, it decodes with PyAV, the default of transformers'
    ``load_video``. In either case the processor selects the frames. Before transformers 4.56 ``fetch_videos``
    samples nothing, and no processor calls it.
    """

    def __init__(self, processor: Any) -> None:
        """Replace ``fetch_videos`` of the processor's video processor, if it samples files.

        Args:
            processor: from ``AutoProcessor``.
        """
        self.frame_samplings: list[FrameSampling] = []
        """Of the files opened so far, in order."""
        self.workarounds: list[str] = []
        """For ``Backend.workarounds``."""
        videos: Any = getattr(processor, "video_processor", None)
        fetch = getattr(videos, "fetch_videos", None)
        if fetch is None or "sample_indices_fn" not in signature(fetch).parameters:
            return
        self._open: Callable[..., Any] = fetch
        if not _is_self_decoding():
            from transformers.video_utils import load_video

            self._open = load_video
            self.workarounds.append(PYAV)
        videos.fetch_videos = self._fetch

    def _fetch(self, paths: str | list[Any], sample_indices_fn: Callable[..., Any] | None = None) -> Any:
        """Implement ``VideoProcessorMixin.fetch_videos``: frames and metadata, for a list two lists."""
        if isinstance(paths, list):
            return list(zip(*(self._fetch(path, sample_indices_fn) for path in paths), strict=True))
        frames, metadata = self._open(paths, sample_indices_fn=sample_indices_fn)
        self.frame_samplings.append(read_frame_sampling(metadata))
        return frames, metadata


def _is_self_decoding() -> bool:
    from transformers.utils import is_torchcodec_available, is_torchvision_available

    if is_torchcodec_available():
        return True
    if not is_torchvision_available():
        return False
    from torchvision import io

    return hasattr(io, "read_video")
