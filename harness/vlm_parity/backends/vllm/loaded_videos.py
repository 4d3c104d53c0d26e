"""Videos as decoded by vLLM's loaders, recorded before its processors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from vlm_parity.backends.base import Request
from vlm_parity.backends.common.frame_sampling import read_frame_sampling
from vlm_parity.media.load import EncodedMedium
from vlm_parity.schema.trace import FrameSampling
from vlm_parity.util.errors import PrivateApiChangedError


@contextmanager
def record_loaded_videos(renderer: Any) -> Iterator[dict[str, list[Any]]]:
    """Collect the loaded media, by modality, while the block renders one conversation.

    Raises:
        PrivateApiChangedError: vLLM's renderer has no ``render_messages``.
    """
    render = getattr(renderer, "render_messages", None)
    if render is None:
        raise PrivateApiChangedError(f"vLLM's {type(renderer).__name__}.render_messages is gone")
    loaded: dict[str, list[Any]] = {}

    def render_and_record(*args: Any, **kwargs: Any) -> Any:
        conversation, prompt = render(*args, **kwargs)
        loaded.update(prompt.get("multi_modal_data") or {})
        return conversation, prompt

    renderer.render_messages = render_and_record
    try:
        yield loaded
    finally:
        del renderer.render_messages


def read_frame_samplings(request: Request, loaded: Mapping[str, list[Any]]) -> list[FrameSampling]:
    """Return the frame sampling of each video file; empty if the case has none.

    Args:
        request: the rendered request.
        loaded: result of ``record_loaded_videos``.

    Raises:
        PrivateApiChangedError: vLLM's videos are not pairs of (frames, metadata).
    """
    files = [
        medium for medium in request.media if isinstance(medium, EncodedMedium) and medium.modality == "video"
    ]
    if not files:
        return []
    videos = loaded.get("video", [])
    if len(videos) != len(files):
        raise PrivateApiChangedError(
            f"vLLM loaded {len(videos)} of {len(files)} videos as multi_modal_data['video']"
        )
    return [read_frame_sampling(_get_metadata(video)) for video in videos]


def _get_metadata(video: Any) -> Mapping[str, Any]:
    try:
        _, metadata = video
    except (TypeError, ValueError) as error:
        raise PrivateApiChangedError("a video of vLLM is not a pair of frames and metadata") from error
    if not isinstance(metadata, Mapping):
        raise PrivateApiChangedError("the metadata of a video of vLLM are not a mapping")
    return metadata
