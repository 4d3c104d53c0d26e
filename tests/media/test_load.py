"""Loading: decoded and encoded media of a case, and errors with their location."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import PIL.Image
import pytest

import vlm_parity.media.load
from vlm_parity.media.load import (
    DecodedVideo,
    EncodedMedium,
    Image,
    digest_encoded_media,
    find_transparent_images,
    load_media,
)
from vlm_parity.schema.case import Case
from vlm_parity.util.errors import MediaError


def build_case(folder: Path, *parts: dict[str, Any], **changes: Any) -> Case:
    return Case.model_validate(
        {
            "name": "some_case",
            "summary": "s",
            "folder": folder,
            "messages": [{"role": "user", "content": parts}],
            **changes,
        }
    )


def encode_png(mode: str) -> bytes:
    file = io.BytesIO()
    PIL.Image.new(mode, (4, 3)).save(file, "PNG")
    return file.getvalue()


def write_video(path: Path, frames: int, fps: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height = 32, 16
        for place in range(frames):
            frame = np.full((16, 32, 3), 20 * place, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())


def test_recipes_keep_the_order_of_the_conversation(tmp_path: Path) -> None:
    video_recipe = {"pattern": "gradient", "size": [8, 6], "frames": 3, "fps": 1.5}
    image_recipe = {"pattern": "gradient", "size": [8, 6]}
    video, image = load_media(build_case(tmp_path, {"video": video_recipe}, {"image": image_recipe}))
    assert isinstance(video, DecodedVideo)
    assert (video.frames.shape, video.fps, video.duration) == ((3, 6, 8, 3), 1.5, 2.0)
    assert isinstance(image, Image)
    assert image.mode == "RGB"


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "I;16"])
def test_image_from_a_file_keeps_its_mode(tmp_path: Path, mode: str) -> None:
    (tmp_path / "a.png").write_bytes(encode_png(mode))
    (image,) = load_media(build_case(tmp_path, {"image": {"file": "a.png"}}))
    assert isinstance(image, Image)
    assert image.mode == mode
    assert image.getpixel((3, 2)) is not None


def test_image_from_a_data_url(tmp_path: Path) -> None:
    url = "data:image/png;base64," + base64.b64encode(encode_png("RGB")).decode()
    (image,) = load_media(build_case(tmp_path, {"image": {"url": url}}))
    assert isinstance(image, Image)
    assert image.size == (4, 3)


def test_video_from_a_file_gives_all_frames(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", frames=7, fps=5)
    (video,) = load_media(build_case(tmp_path, {"video": {"file": "a.mp4"}}))
    assert isinstance(video, DecodedVideo)
    assert (video.frames.shape, video.fps) == ((7, 16, 32, 3), 5.0)
    assert video.frames.dtype == np.uint8
    np.testing.assert_allclose(video.frames.mean(axis=(1, 2, 3)), [20 * place for place in range(7)], atol=5)


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ({"image": {"file": "missing.png"}}, r"case some_case, image 1 \(.*missing\.png\)"),
        ({"image": {"file": "broken.bin"}}, r"case some_case, image 1 \(.*broken\.bin\)"),
        ({"video": {"file": "broken.bin"}}, r"case some_case, video 0 \(.*broken\.bin\)"),
        ({"image": {"url": "data:image/png;base64,???"}}, r"image 1 \(data:image/png;base64\)"),
        ({"image": {"pattern": "text", "size": [8, 6], "text": "图"}}, r"image 1 \(pattern text\)"),
    ],
)
def test_error_locates_the_medium(tmp_path: Path, part: dict[str, Any], place: str) -> None:
    (tmp_path / "broken.bin").write_bytes(b"neither image nor video")
    good = {"image": {"pattern": "gradient", "size": [8, 6]}}
    with pytest.raises(MediaError, match=place):
        load_media(build_case(tmp_path, good, part))


ENCODED = {"pattern": "gradient", "size": [8, 6], "encoded": {"format": "webp"}}
VIDEO_FILE = {"pattern": "gradient", "size": [32, 16], "frames": 3, "encoded": {"codec": "mpeg4"}}


def test_encoded_recipe_is_a_file(tmp_path: Path) -> None:
    image, video = load_media(build_case(tmp_path, {"image": ENCODED}, {"video": VIDEO_FILE}))
    assert isinstance(image, EncodedMedium)
    assert isinstance(video, EncodedMedium)
    assert (image.modality, image.mime, image.suffix) == ("image", "image/webp", ".webp")
    assert (video.modality, video.mime, video.suffix) == ("video", "video/mp4", ".mp4")
    opened, decoded = image.decode(), video.decode()
    assert isinstance(opened, Image)
    assert isinstance(decoded, DecodedVideo)
    assert (opened.size, decoded.frames.shape) == ((8, 6), (3, 16, 32, 3))


def test_file_is_decoded_unless_it_is_marked_as_encoded(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode_png("RGBA"))
    opened, encoded = load_media(
        build_case(tmp_path, {"image": {"file": "a.png"}}, {"image": {"file": "a.png", "encoded": True}})
    )
    assert isinstance(opened, Image)
    assert encoded == EncodedMedium("image", encode_png("RGBA"), "image/png")
    assert isinstance(encoded, EncodedMedium)
    assert encoded.build_url() == "data:image/png;base64," + base64.b64encode(encode_png("RGBA")).decode()


def test_data_url_keeps_its_type(tmp_path: Path) -> None:
    url = "data:image/png;base64," + base64.b64encode(encode_png("L")).decode()
    (encoded,) = load_media(build_case(tmp_path, {"image": {"url": url, "encoded": True}}))
    assert encoded == EncodedMedium("image", encode_png("L"), "image/png")
    assert encoded.build_url() == url  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["a.m3u8", "a.m3u", "a.mpd", "a.sdp", "a.txt", "a"])
def test_the_content_makes_the_type_of_a_file_and_no_name_a_playlist(tmp_path: Path, name: str) -> None:
    write_video(tmp_path / "a.mp4", frames=3, fps=2)
    (tmp_path / "a.mp4").rename(tmp_path / name)
    (medium,) = load_media(build_case(tmp_path, {"video": {"file": name, "encoded": True}}))
    assert isinstance(medium, EncodedMedium)
    assert (medium.mime, medium.suffix) == ("video/mp4", ".mp4")


def test_a_broken_file_is_not_transparent() -> None:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 4), np.uint8)
    PIL.Image.fromarray(pixels).save(file, "PNG")
    whole, cut = (
        EncodedMedium("image", content, "image/png") for content in (file.getvalue(), file.getvalue()[:900])
    )
    assert find_transparent_images([cut, whole]) == (1,)


def test_digest_of_encoded_recipes_depends_on_their_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = build_case(tmp_path, {"image": {**ENCODED, "seed": 77}})
    before = digest_encoded_media(recipe)
    assert before == digest_encoded_media(recipe)
    vlm_parity.media.load._encode_medium.cache_clear()
    monkeypatch.setattr(vlm_parity.media.load, "encode_image", lambda *_: b"another version's")
    assert digest_encoded_media(recipe) != before
    vlm_parity.media.load._encode_medium.cache_clear()


def test_digest_skips_media_that_are_not_encoded(tmp_path: Path) -> None:
    plain = build_case(tmp_path, {"image": {"pattern": "gradient", "size": [8, 6]}})
    assert digest_encoded_media(plain) == digest_encoded_media(build_case(tmp_path, {"text": "Hello"}))


def test_max_size_medium_needs_an_engine(tmp_path: Path) -> None:
    largest = build_case(tmp_path, {"image": {"max_size": True}}, depth="tokens")
    with pytest.raises(MediaError, match=r"image 0 \(maximum size\): .*: its size depends on the engine"):
        load_media(largest)


def test_transparent_images_are_found_among_all_media() -> None:
    file = io.BytesIO()
    palette = PIL.Image.new("P", (4, 4))
    palette.save(file, "PNG", transparency=0)
    video = EncodedMedium("video", b"no image", "video/mp4")
    encoded = EncodedMedium("image", file.getvalue(), "image/png")
    media = (PIL.Image.new("RGB", (4, 4)), video, PIL.Image.new("LA", (4, 4)), encoded)
    assert find_transparent_images(media) == (1, 2)
