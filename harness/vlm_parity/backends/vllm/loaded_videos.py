"""What vLLM's loaders made of the media files of a request, before its processors see it."""

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
    """Collects the loaded media by modality while the block renders one conversation.

    Raises:
        PrivateApiChangedError: vLLM's renderer has no ``render_messages``.
    """
    render = getattr(renderer, "render_messages", None)
    if render is None:
        raise PrivateApiChangedError(f"vLLM's {type(renderer).__name__}.render_messages is gone")
    found: dict[str, list[Any]] = {}

    def watched(*args: Any, **kwargs: Any) -> Any:
        conversation, prompt = render(*args, **kwargs)
        found.update(prompt.get("multi_modal_data") or {})
        return conversation, prompt

    renderer.render_messages = watched
    try:
        yield found
    finally:
        del renderer.render_messages


def loaded_frame_sampling(request: Request, loaded: Mapping[str, list[Any]]) -> list[FrameSampling]:
    """Which frames vLLM's loader took from each video file; empty where the case has none.

    Raises:
        PrivateApiChangedError: vLLM hands its videos on in another form than (frames, metadata).
    """
    files = [each for each in request.media if isinstance(each, EncodedMedium) and each.modality == "video"]
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
    except (TypeError, ValueError) as problem:
        raise PrivateApiChangedError("a video of vLLM is no pair of frames and metadata") from problem
    if not isinstance(metadata, Mapping):
        raise PrivateApiChangedError("the metadata of a video of vLLM are no mapping")
    return metadata
