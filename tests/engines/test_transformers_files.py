"""Files through transformers' own loaders; no checkpoint is needed."""

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


def film(frames: int, fps: float) -> EncodedMedium:
    recipe = VideoRecipe(pattern="gradient", size=(84, 56), frames=frames, fps=fps)
    return EncodedMedium("video", encode_frames(draw_frames(recipe), fps, VideoEncoding()), "video/mp4")


def test_the_processor_samples_and_the_frames_it_took_are_known(tmp_path: Path) -> None:
    from transformers import Qwen3VLVideoProcessor

    processor = Qwen3VLVideoProcessor()  # 2 frames a second, four at least
    files = VideoFileReader(SimpleNamespace(video_processor=processor))
    processor(videos=write_media_files([film(48, 24), film(60, 10)], tmp_path), return_tensors="pt")
    first, second = files.frame_samplings
    assert (first.total, first.fps, first.indices) == (48, 24, (0, 16, 31, 47))
    assert (second.total, second.fps, len(second.indices)) == (60, 10, 12)


def test_all_frames_are_taken_where_the_processor_samples_none(tmp_path: Path) -> None:
    from transformers import Qwen2VLVideoProcessor

    processor = Qwen2VLVideoProcessor()
    files = VideoFileReader(SimpleNamespace(video_processor=processor))
    (path,) = write_media_files([film(7, 24)], tmp_path)
    processor(videos=[path], return_tensors="pt")
    assert [taken.indices for taken in files.frame_samplings] == [tuple(range(7))]


def test_a_processor_without_videos_is_left_alone() -> None:
    assert VideoFileReader(SimpleNamespace()).workarounds == []


def test_a_processor_that_samples_no_files_is_left_alone() -> None:
    videos = SimpleNamespace(fetch_videos=lambda paths: paths)  # as before transformers 4.56
    fetch = videos.fetch_videos
    assert VideoFileReader(SimpleNamespace(video_processor=videos)).workarounds == []
    assert videos.fetch_videos is fetch


def test_a_picture_is_opened_as_load_image_does(tmp_path: Path) -> None:
    drawn = draw_image(ImageRecipe(pattern="gradient", size=(28, 20)))
    content = encode_image(drawn, ImageEncoding(format="png", orientation=6))
    (image,) = write_media_files([EncodedMedium("image", content, "image/png")], tmp_path)
    assert isinstance(image, PIL.Image.Image)
    np.testing.assert_array_equal(image, drawn.transpose(PIL.Image.Transpose.ROTATE_270))
