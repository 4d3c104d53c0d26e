"""Loading: what the case means, decoded; and mistakes with their place."""

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
from vlm_parity.media.load import DecodedVideo, EncodedMedium, Image, digest_encoded_media, load_media
from vlm_parity.schema.case import Case
from vlm_parity.util.errors import MediaError


def case(folder: Path, *parts: dict[str, Any], **changes: Any) -> Case:
    return Case.model_validate(
        {
            "name": "some_case",
            "summary": "s",
            "folder": folder,
            "messages": [{"role": "user", "content": parts}],
            **changes,
        }
    )


def png(mode: str) -> bytes:
    file = io.BytesIO()
    PIL.Image.new(mode, (4, 3)).save(file, "PNG")
    return file.getvalue()


def write_video(path: Path, frames: int, fps: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height = 32, 16
        for place in range(frames):
            picture = np.full((16, 32, 3), 20 * place, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())


def test_recipes_keep_the_order_of_the_conversation(tmp_path: Path) -> None:
    video = {"pattern": "gradient", "size": [8, 6], "frames": 3, "fps": 1.5}
    image = {"pattern": "gradient", "size": [8, 6]}
    clip, picture = load_media(case(tmp_path, {"video": video}, {"image": image}))
    assert isinstance(clip, DecodedVideo)
    assert (clip.frames.shape, clip.fps, clip.duration) == ((3, 6, 8, 3), 1.5, 2.0)
    assert isinstance(picture, Image)
    assert picture.mode == "RGB"


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "I;16"])
def test_picture_from_a_file_keeps_its_mode(tmp_path: Path, mode: str) -> None:
    (tmp_path / "a.png").write_bytes(png(mode))
    (picture,) = load_media(case(tmp_path, {"image": {"file": "a.png"}}))
    assert isinstance(picture, Image)
    assert picture.mode == mode
    assert picture.getpixel((3, 2)) is not None


def test_picture_from_a_data_url(tmp_path: Path) -> None:
    url = "data:image/png;base64," + base64.b64encode(png("RGB")).decode()
    (picture,) = load_media(case(tmp_path, {"image": {"url": url}}))
    assert isinstance(picture, Image)
    assert picture.size == (4, 3)


def test_video_from_a_file_gives_all_frames(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", frames=7, fps=5)
    (video,) = load_media(case(tmp_path, {"video": {"file": "a.mp4"}}))
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
def test_bad_medium_is_located(tmp_path: Path, part: dict[str, Any], place: str) -> None:
    (tmp_path / "broken.bin").write_bytes(b"neither picture nor video")
    good = {"image": {"pattern": "gradient", "size": [8, 6]}}
    with pytest.raises(MediaError, match=place):
        load_media(case(tmp_path, good, part))


ENCODED = {"pattern": "gradient", "size": [8, 6], "encoded": {"format": "webp"}}
VIDEO_FILE = {"pattern": "gradient", "size": [32, 16], "frames": 3, "encoded": {"codec": "mpeg4"}}


def test_an_encoded_recipe_enters_as_a_file(tmp_path: Path) -> None:
    picture, film = load_media(case(tmp_path, {"image": ENCODED}, {"video": VIDEO_FILE}))
    assert isinstance(picture, EncodedMedium)
    assert isinstance(film, EncodedMedium)
    assert (picture.modality, picture.mime, picture.suffix) == ("image", "image/webp", ".webp")
    assert (film.modality, film.mime, film.suffix) == ("video", "video/mp4", ".mp4")
    opened, decoded = picture.decoded(), film.decoded()
    assert isinstance(opened, Image)
    assert isinstance(decoded, DecodedVideo)
    assert (opened.size, decoded.frames.shape) == ((8, 6), (3, 16, 32, 3))


def test_a_file_is_opened_by_the_harness_unless_it_is_to_stay_encoded(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png("RGBA"))
    opened, encoded = load_media(
        case(tmp_path, {"image": {"file": "a.png"}}, {"image": {"file": "a.png", "encoded": True}})
    )
    assert isinstance(opened, Image)
    assert encoded == EncodedMedium("image", png("RGBA"), "image/png")
    assert isinstance(encoded, EncodedMedium)
    assert encoded.url == "data:image/png;base64," + base64.b64encode(png("RGBA")).decode()


def test_a_data_url_keeps_its_type(tmp_path: Path) -> None:
    url = "data:image/png;base64," + base64.b64encode(png("L")).decode()
    (encoded,) = load_media(case(tmp_path, {"image": {"url": url, "encoded": True}}))
    assert encoded == EncodedMedium("image", png("L"), "image/png")
    assert encoded.url == url  # type: ignore[union-attr]


def test_digest_of_encoded_recipes_is_that_of_their_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = case(tmp_path, {"image": {**ENCODED, "seed": 77}})
    before = digest_encoded_media(asked)
    assert before == digest_encoded_media(asked)
    vlm_parity.media.load._encode_medium.cache_clear()
    monkeypatch.setattr(vlm_parity.media.load, "encode_image", lambda *_: b"another version's")
    assert digest_encoded_media(asked) != before
    vlm_parity.media.load._encode_medium.cache_clear()


def test_digest_leaves_out_what_is_not_made_into_a_file(tmp_path: Path) -> None:
    plain = case(tmp_path, {"image": {"pattern": "gradient", "size": [8, 6]}})
    assert digest_encoded_media(plain) == digest_encoded_media(case(tmp_path, {"text": "Hello"}))


def test_nobody_knows_the_largest_medium_before_an_engine_says_which_it_is(tmp_path: Path) -> None:
    largest = case(tmp_path, {"image": {"max_size": True}}, depth="tokens")
    with pytest.raises(MediaError, match=r"image 0 \(the largest\): .*: no engine has said yet which it is"):
        load_media(largest)
