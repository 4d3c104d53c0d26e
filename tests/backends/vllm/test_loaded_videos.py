"""Videos recorded from vLLM's renderer, without an engine."""

from __future__ import annotations

from typing import Any

import pytest

from vlm_parity.backends.base import Request
from vlm_parity.backends.vllm.loaded_videos import read_frame_samplings, record_loaded_videos
from vlm_parity.media.load import EncodedMedium
from vlm_parity.schema.case import Case
from vlm_parity.util.errors import PrivateApiChangedError

CASE = Case.model_validate({"name": "a", "summary": "s", "messages": [{"role": "user", "content": "Hi"}]})
VIDEO_FILE = EncodedMedium("video", b"", "video/mp4")
METADATA = {"total_num_frames": 48, "fps": 24.0, "frames_indices": [0, 24], "video_backend": "opencv"}


class Renderer:
    """A renderer with the recorded method of vLLM's renderers."""

    def render_messages(self, conversation: str, videos: list[Any]) -> tuple[str, dict[str, Any]]:
        return conversation, {"prompt": "p", "multi_modal_data": {"video": videos}}


def test_loaded_videos_are_recorded_and_the_renderer_is_restored() -> None:
    renderer = Renderer()
    with record_loaded_videos(renderer) as loaded:
        assert renderer.render_messages("c", [("frames", METADATA)])[0] == "c"
    assert "render_messages" not in vars(renderer)
    (sampling,) = read_frame_samplings(Request(CASE, (VIDEO_FILE,)), loaded)
    assert (sampling.decoder, sampling.total, sampling.fps) == ("opencv", 48, 24.0)
    assert sampling.indices == (0, 24)


def test_the_renderer_is_restored_after_an_error() -> None:
    renderer = Renderer()
    with pytest.raises(TypeError), record_loaded_videos(renderer):
        renderer.render_messages()  # type: ignore[call-arg]
    assert "render_messages" not in vars(renderer)


def test_without_video_files_there_is_no_frame_sampling() -> None:
    assert read_frame_samplings(Request(CASE, ()), {"video": ["frames"]}) == []


@pytest.mark.parametrize(
    ("videos", "message"),
    [
        ([], "0 of 1 videos"),
        (["frames and no metadata"], "not a pair"),
        ([("frames", None)], "not a mapping"),
    ],
)
def test_an_error_describes_videos_of_a_different_form(videos: list[Any], message: str) -> None:
    with pytest.raises(PrivateApiChangedError, match=message):
        read_frame_samplings(Request(CASE, (VIDEO_FILE,)), {"video": videos})


def test_an_error_names_a_missing_method_of_the_renderer() -> None:
    with (
        pytest.raises(PrivateApiChangedError, match=r"object\.render_messages is gone"),
        record_loaded_videos(object()),
    ):
        pass
