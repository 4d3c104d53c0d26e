"""What vLLM's loader made of video files: read from its renderer, or missing by name; no engine is run."""

from __future__ import annotations

from typing import Any

import pytest

from vlm_parity.backends.base import Request
from vlm_parity.backends.vllm.loaded_videos import loaded_frame_sampling, record_loaded_videos
from vlm_parity.media.load import EncodedMedium
from vlm_parity.schema.case import Case
from vlm_parity.util.errors import PrivateApiChangedError

CASE = Case.model_validate({"name": "a", "summary": "s", "messages": [{"role": "user", "content": "Hi"}]})
VIDEO_FILE = EncodedMedium("video", b"", "video/mp4")
METADATA = {"total_num_frames": 48, "fps": 24.0, "frames_indices": [0, 24], "video_backend": "opencv"}


class Renderer:
    """The method of vLLM's renderers that is looked at."""

    def render_messages(self, conversation: str, videos: list[Any]) -> tuple[str, dict[str, Any]]:
        return conversation, {"prompt": "p", "multi_modal_data": {"video": videos}}


def test_loaded_videos_are_seen_and_the_renderer_is_as_before() -> None:
    renderer = Renderer()
    with record_loaded_videos(renderer) as loaded:
        assert renderer.render_messages("c", [("frames", METADATA)])[0] == "c"
    assert "render_messages" not in vars(renderer)
    (found,) = loaded_frame_sampling(Request(CASE, (VIDEO_FILE,)), loaded)
    assert (found.decoder, found.total, found.fps, found.indices) == ("opencv", 48, 24.0, (0, 24))


def test_the_renderer_is_as_before_when_it_raises() -> None:
    renderer = Renderer()
    with pytest.raises(TypeError), record_loaded_videos(renderer):
        renderer.render_messages()  # type: ignore[call-arg]
    assert "render_messages" not in vars(renderer)


def test_without_a_film_nothing_is_looked_for() -> None:
    assert loaded_frame_sampling(Request(CASE, ()), {"video": ["frames"]}) == []


@pytest.mark.parametrize(
    ("videos", "words"),
    [([], "0 of 1 videos"), (["frames and no metadata"], "no pair"), ([("frames", None)], "no mapping")],
)
def test_another_form_is_missing_by_name(videos: list[Any], words: str) -> None:
    with pytest.raises(PrivateApiChangedError, match=words):
        loaded_frame_sampling(Request(CASE, (VIDEO_FILE,)), {"video": videos})


def test_a_renderer_without_the_method_is_named() -> None:
    with (
        pytest.raises(PrivateApiChangedError, match=r"object\.render_messages is gone"),
        record_loaded_videos(object()),
    ):
        pass
