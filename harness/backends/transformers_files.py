"""Media files, opened by transformers' own loaders with their own defaults."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from harness.media.load import Encoded, Image, Media


def opened(media: Iterable[Media], folder: Path) -> list[Media | str]:
    """The media, pictures opened by ``load_image``, videos as paths of files that are written into
    ``folder``: the processor opens and samples them, as its chat template has it."""
    return [
        _opened(medium, folder / str(place)) if isinstance(medium, Encoded) else medium
        for place, medium in enumerate(media)
    ]


def _opened(medium: Encoded, path: Path) -> Image | str:
    from transformers.image_utils import load_image

    if medium.modality == "image":
        image: Image = load_image(medium.url)
        return image
    file = path.with_suffix(medium.suffix)
    file.write_bytes(medium.content)
    return str(file)


def let_decode(processor: Any) -> str | None:
    """Has the processor open video files by PyAV where it could not by its own first choice, and says so.

    That choice is torchcodec, then a torchvision that still decodes
    (``VideoProcessorMixin.fetch_videos``). PyAV is the default of transformers' ``load_video``; which
    frames are taken is the processor's business with either.
    """
    videos = getattr(processor, "video_processor", None)
    if videos is None or _decodes_by_itself():
        return None
    videos.fetch_videos = _by_pyav
    return "videos are opened by load_video with its default, PyAV: there is no torchcodec"


def _decodes_by_itself() -> bool:
    from transformers.utils import is_torchcodec_available
    from transformers.video_utils import is_torchvision_video_decoding_available

    return bool(is_torchcodec_available() or is_torchvision_video_decoding_available())


def _by_pyav(paths: str | list[Any], sample_indices_fn: Callable[..., Any] | None = None) -> Any:
    """As ``VideoProcessorMixin.fetch_videos``: frames and metadata, of a list as two lists."""
    from transformers.video_utils import load_video

    if isinstance(paths, list):
        one = partial(_by_pyav, sample_indices_fn=sample_indices_fn)
        return list(zip(*map(one, paths), strict=True))
    return load_video(paths, sample_indices_fn=sample_indices_fn)
