"""Media files through transformers' own loaders, without a checkpoint."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from vlm_parity.backends.transformers.media_files import VideoFileReader, write_media_files
from vlm_parity.media.draw_images import draw_frames, draw_image
from vlm_parity.media.encode import encode_frames, encode_image
from vlm_parity.media.load import EncodedMedium
from vlm_parity.schema.media_encoding import ImageEncoding, VideoEncoding
from vlm_parity.schema.media_source import ImageRecipe, VideoRecipe


def make_video_file(frames: int, fps: float) -> EncodedMedium:
    recipe = VideoRecipe(pattern="gradient", size=(84, 56), frames=frames, fps=fps)
    return EncodedMedium("video", encode_frames(draw_frames(recipe), fps, VideoEncoding()), "video/mp4")


def test_the_frame_sampling_of_the_processor_is_recorded(tmp_path: Path) -> None:
    from transformers import Qwen3VLVideoProcessor

    processor = Qwen3VLVideoProcessor()  # 2 frames per second, at least 4
    files = VideoFileReader(SimpleNamespace(video_processor=processor))
    paths = write_media_files([make_video_file(48, 24), make_video_file(60, 10)], tmp_path)
    processor(videos=paths, return_tensors="pt")
    first, second = files.frame_samplings
    assert (first.total, first.fps, first.indices) == (48, 24, (0, 16, 31, 47))
    assert (second.total, second.fps, len(second.indices)) == (60, 10, 12)


def test_all_frames_are_selected_if_the_processor_does_not_sample(tmp_path: Path) -> None:
    from transformers import Qwen2VLVideoProcessor

    processor = Qwen2VLVideoProcessor()
    files = VideoFileReader(SimpleNamespace(video_processor=processor))
    (path,) = write_media_files([make_video_file(7, 24)], tmp_path)
    processor(videos=[path], return_tensors="pt")
    assert [taken.indices for taken in files.frame_samplings] == [tuple(range(7))]


def test_a_processor_without_videos_is_unchanged() -> None:
    assert VideoFileReader(SimpleNamespace()).workarounds == []


def test_a_processor_that_does_not_sample_files_is_unchanged() -> None:
    videos = SimpleNamespace(fetch_videos=lambda paths: paths)  # as before transformers 4.56
    fetch = videos.fetch_videos
    assert VideoFileReader(SimpleNamespace(video_processor=videos)).workarounds == []
    assert videos.fetch_videos is fetch


def test_an_image_file_is_opened_with_load_image(tmp_path: Path) -> None:
    drawn = draw_image(ImageRecipe(pattern="gradient", size=(28, 20)))
    content = encode_image(drawn, ImageEncoding(format="png", orientation=6))
    (image,) = write_media_files([EncodedMedium("image", content, "image/png")], tmp_path)
    assert isinstance(image, PIL.Image.Image)
    np.testing.assert_array_equal(image, drawn.transpose(PIL.Image.Transpose.ROTATE_270))
