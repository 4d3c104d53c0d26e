"""Media files, opened by transformers' own loaders with their own defaults."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import signature
from pathlib import Path
from typing import Any

from vlm_parity.backends.common.frame_sampling import read_frame_sampling
from vlm_parity.media.load import EncodedMedium, Image, Media
from vlm_parity.schema.trace import FrameSampling

PYAV = "videos are opened by load_video with its default, PyAV: there is no torchcodec"


def write_media_files(media: Iterable[Media], folder: Path) -> list[Media | str]:
    """The media, pictures opened by ``load_image``, videos as paths of files that are written into
    ``folder``: the processor opens and samples them, as its chat template has it.
    """
    return [
        _write_media_file(medium, folder / str(place)) if isinstance(medium, EncodedMedium) else medium
        for place, medium in enumerate(media)
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
    """Looks on while a processor opens video files.

    Its own choice is torchcodec, then a torchvision that still decodes (``fetch_videos`` of
    ``VideoProcessorMixin``). Where there is neither, it is given PyAV, the default of transformers'
    ``load_video``; which frames are taken is the processor's business with either. Before transformers
    4.56 ``fetch_videos`` samples nothing, and no processor calls it.
    """

    def __init__(self, processor: Any) -> None:
        self.taken: list[FrameSampling] = []
        """Of the files opened so far, in order."""
        self.workarounds: list[str] = []
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
        """As ``VideoProcessorMixin.fetch_videos``: frames and metadata, of a list as two lists."""
        if isinstance(paths, list):
            return list(zip(*(self._fetch(path, sample_indices_fn) for path in paths), strict=True))
        frames, metadata = self._open(paths, sample_indices_fn=sample_indices_fn)
        self.taken.append(read_frame_sampling(metadata))
        return frames, metadata


def _is_self_decoding() -> bool:
    from transformers.utils import is_torchcodec_available, is_torchvision_available

    if is_torchcodec_available():
        return True
    if not is_torchvision_available():
        return False
    from torchvision import io

    return hasattr(io, "read_video")
