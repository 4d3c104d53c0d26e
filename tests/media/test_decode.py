"""Media files of a hostile or an unlucky user: nothing but their content is read, and no more than fits."""

from __future__ import annotations

import base64
import io
import socket
import struct
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import PIL.Image
import pytest

from vlm_parity.media import decode
from vlm_parity.media.decode import check_image, check_video, decode_audio, decode_image, decode_video
from vlm_parity.media.load import load_media
from vlm_parity.schema.case import Case
from vlm_parity.util.errors import CaseError, DecodeError, MediaError

NOT_AN_IMAGE = "no image in one of the formats PNG, JPEG, GIF, BMP, WEBP, TIFF"
NOT_A_VIDEO = "broken video, or in none of the formats mp4, matroska"


def encode_image(format_: str, size: tuple[int, int] = (64, 48)) -> bytes:
    file = io.BytesIO()
    PIL.Image.effect_noise(size, 50).convert("RGB").save(file, format_)
    return file.getvalue()


def write_png_header(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that claims to have this size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def write_gif(frames: int) -> bytes:
    """Return a GIF whose frames have one pixel and 21 bytes each."""
    frame = b"\x21\xf9\x04\0\x01\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0"
    return b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff" + frame * frames + b";"


def write_wav(
    rate: int = 16000, channels: int = 1, data: bytes = bytes(2000), claimed_size: int | None = None
) -> bytes:
    size = len(data) if claimed_size is None else claimed_size
    bytes_per_second, block = (rate * channels * 2) & 0xFFFFFFFF, (channels * 2) & 0xFFFF
    form = struct.pack("<IHHIIHH", 16, 1, channels, rate, bytes_per_second, block, 16)
    return b"RIFF" + struct.pack("<I", size) + b"WAVEfmt " + form + b"data" + struct.pack("<I", size) + data


def write_video(format_: str, codec: str, frames: int = 3, size: tuple[int, int] = (32, 16)) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=format_) as container:
        stream = container.add_stream(codec, rate=5)
        stream.width, stream.height = size
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        for index in range(frames):
            pixels = np.full((size[1], size[0], 3), 10 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def read_error(function: Callable[[bytes], object], content: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        function(content)
    return str(caught.value)


@contextmanager
def peak_memory(limit: int) -> Iterator[None]:
    """Fail if Python and numpy allocate more than ``limit`` bytes at a time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


# Supported formats


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "MPO", "GIF", "BMP", "WEBP", "TIFF", "AVIF"])
def test_image_formats(format_: str) -> None:
    if format_ == "AVIF" and "AVIF" not in decode.IMAGE_FORMATS:
        pytest.skip("this version of Pillow has no AVIF")
    content = encode_image(format_)
    expected = {"MPO": "image/jpeg"}.get(format_, f"image/{format_.lower()}")
    assert check_image(content) == expected
    assert decode_image(content).size == (64, 48)


@pytest.mark.parametrize(
    ("format_", "codec", "mime"),
    [
        ("mp4", "mpeg4", "video/mp4"),
        ("mov", "mpeg4", "video/quicktime"),
        ("matroska", "ffv1", "video/x-matroska"),
        ("webm", "vp9", "video/webm"),
        ("avi", "mpeg4", "video/x-msvideo"),
        ("flv", "flv1", "video/x-flv"),
    ],
)
def test_video_formats(format_: str, codec: str, mime: str) -> None:
    content = write_video(format_, codec)
    assert check_video(content) == mime
    frames, rate = decode_video(content)
    assert (frames.shape, rate) == ((3, 16, 32, 3), 5.0)


def test_audio_formats() -> None:
    samples, rate = decode_audio(write_wav())
    assert (samples.shape, samples.dtype.name, rate) == ((1000,), "float32", 16000)


# Broken files


@pytest.mark.parametrize("content", [b"", encode_image("ICO"), encode_image("PPM"), b"<svg/>", b"%!PS\n"])
def test_another_image_format_is_named(content: bytes) -> None:
    for function in (check_image, decode_image):
        assert read_error(function, content).startswith(NOT_AN_IMAGE)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about metadata
@pytest.mark.parametrize("format_", decode.IMAGE_FORMATS)
def test_every_truncated_image_is_broken(format_: str) -> None:
    content = encode_image(format_)
    for length in range(0, len(content) - 40, max(1, len(content) // 60)):
        assert read_error(decode_image, content[:length]).startswith(("broken image: ", NOT_AN_IMAGE))


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about metadata
@pytest.mark.parametrize("format_", decode.IMAGE_FORMATS)
def test_every_damaged_image_is_decoded_or_broken(format_: str) -> None:
    content, random = encode_image(format_), np.random.RandomState(0)
    outcomes = set()
    for _ in range(200):
        damaged = bytearray(content)
        for position in random.randint(0, min(len(damaged), 400), size=3):
            damaged[position] = random.randint(256)
        try:
            decode_image(bytes(damaged))
            outcomes.add("decoded")
        except DecodeError:
            outcomes.add("broken")
    assert "broken" in outcomes


@pytest.mark.parametrize("error", [SyntaxError, RuntimeError, IndexError, OverflowError, MemoryError])
def test_any_exception_of_a_decoder_is_a_broken_image(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: PIL.Image.Image) -> None:
        raise error("the reason")

    content = encode_image("PNG")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    assert read_error(decode_image, content).startswith(f"broken image: {error.__name__}: ")


def test_broken_video_and_audio() -> None:
    content = write_video("mp4", "mpeg4")
    for function in (check_video, decode_video):
        assert read_error(function, b"").startswith(NOT_A_VIDEO)
        assert read_error(function, content[: len(content) // 2]).startswith("broken video, or ")
        assert read_error(function, write_wav()) == "no video: it has no frames"
    assert read_error(decode_audio, content) == "no audio"
    assert read_error(decode_audio, write_wav(data=b"")) == "audio without samples"
    assert read_error(decode_audio, b"RIFF").startswith("broken audio, or in none of the formats")


# Limits


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((8193, 8192), "8193 x 8192 pixels are 67 megapixels, and the limit is 67"),
        ((10_000, 10_000), "an image of more than 67 megapixels"),
        ((60_000, 60_000), "an image of more than 67 megapixels"),
        ((2**31 - 1, 2**31 - 1), "an image of more than 67 megapixels"),
    ],
)
def test_image_bomb_is_not_decoded(size: tuple[int, int], message: str) -> None:
    with peak_memory(10_000_000):
        for function in (check_image, decode_image):
            assert read_error(function, write_png_header(*size)) == message


def test_image_may_have_67_megapixels() -> None:
    check_image(write_png_header(8192, 8192))


def test_image_takes_no_more_than_is_left() -> None:
    content = encode_image("PNG")
    assert decode_image(content, 64 * 48 * 4).size == (64, 48)
    with pytest.raises(DecodeError, match="all media of a case together may have 2 GiB when decoded"):
        decode_image(content, 64 * 48 * 4 - 1)


def test_gif_of_a_million_frames() -> None:
    content = write_gif(1_000_000)
    assert decode_image(content).size == (1, 1)
    for function in (check_video, decode_video):
        assert read_error(function, content) == "a video of 1000000 frames, and the limit is 4096"


def test_frames_are_counted_if_the_header_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MAX_FRAMES", 7)
    content = write_video("matroska", "ffv1", frames=8)
    check_video(content)
    assert read_error(decode_video, content) == "a video of more than 7 frames"
    assert len(decode_video(write_video("matroska", "ffv1", frames=7))[0]) == 7


def test_video_takes_no_more_than_is_left() -> None:
    for format_, codec in (("mp4", "mpeg4"), ("matroska", "ffv1")):
        content = write_video(format_, codec)
        assert len(decode_video(content, 3 * 32 * 16 * 3)[0]) == 3
        with pytest.raises(DecodeError, match="too large: all media of a case"):
            decode_video(content, 3 * 32 * 16 * 3 - 1)


def test_large_frames_are_never_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    content = write_video("mp4", "mpeg4")
    monkeypatch.setitem(decode._DECODER_OPTIONS, "max_pixels", str(32 * 16 - 1))
    assert read_error(decode_video, content).startswith("broken video: ")
    monkeypatch.setattr("vlm_parity.schema.media_limits.MAX_IMAGE_PIXELS", 32 * 16 - 1)
    for function in (check_video, decode_video):
        assert read_error(function, content).startswith("32 x 16 pixels are 0 megapixels, and the limit is")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (write_wav(rate=1), "1 samples a second; 1000 to 384000 are supported"),
        (write_wav(rate=400_000), "400000 samples a second; 1000 to 384000 are supported"),
        (write_wav(rate=0), "broken audio, or in none of the formats"),
        (write_wav(channels=65535), "broken audio: "),
        (write_wav(channels=0), "broken audio: "),
        (write_wav(rate=1000, data=bytes(2 * 601_000)), "audio of more than 600 seconds"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_audio_beyond_a_limit(content: bytes, message: str) -> None:
    assert read_error(decode_audio, content).startswith(message)


def test_audio_is_as_long_as_its_samples() -> None:
    with peak_memory(10_000_000):
        samples, _ = decode_audio(write_wav(claimed_size=0xFFFFFFF0))
    assert len(samples) == 1000


# Other files and addresses


def load(folder: Path, name: str, *, encoded: bool, modality: str = "video") -> None:
    message = {"role": "user", "content": [{modality: {"file": name, "encoded": encoded}}]}
    load_media(Case.model_validate({"name": "a", "summary": "s", "folder": folder, "messages": [message]}))


@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("name", ["a.m3u8", "a.mp4", "a.mpd"])
def test_playlist_is_refused_before_an_address_is_opened(tmp_path: Path, name: str, encoded: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{address}\n#EXT-X-ENDLIST\n"
        (tmp_path / name).write_text(playlist)
        with pytest.raises(MediaError, match=rf"case a, video 0 \(.*{name}\): {NOT_A_VIDEO}"):
            load(tmp_path, name, encoded=encoded)
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize("encoded", [False, True])
def test_list_of_files_is_refused_before_a_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoded: bool
) -> None:
    (tmp_path / "secret.mp4").write_bytes(write_video("mp4", "mpeg4"))
    (tmp_path / "a.mp4").write_text("ffconcat version 1.0\nfile secret.mp4\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MediaError, match=NOT_A_VIDEO):
        load(tmp_path, "a.mp4", encoded=encoded)


def test_session_description_opens_no_port(tmp_path: Path) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1] & ~1  # RTP takes an even one
    (tmp_path / "a.mp4").write_text(
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        f"m=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n"
    )
    done, is_open = threading.Event(), threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            if f":{port:04X} " in Path("/proc/net/udp").read_text():
                is_open.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with pytest.raises(MediaError, match=NOT_A_VIDEO):
            load(tmp_path, "a.mp4", encoded=False)
    finally:
        done.set()
        watcher.join()
    assert not is_open.is_set()


def test_mistakes_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to("/etc/passwd")
    for name in ("/etc/passwd", "../../etc/passwd", "link.png"):
        with pytest.raises(CaseError, match="lies outside of the case's folder"):
            load(tmp_path, name, encoded=True, modality="image")
    (tmp_path / "loop.png").symlink_to("loop.png")
    for name, message in (
        (".", "is a folder"),
        ("loop.png", "too many"),
        ("none.png", "no such file"),
    ):
        with pytest.raises(MediaError, match=message):
            load(tmp_path, name, encoded=True, modality="image")


def test_data_url_that_is_not_base64() -> None:
    for url in ("data:image/png;base64,???", f"data:image/png;base64,{base64.b64encode(b'x').decode()}"):
        message = {"role": "user", "content": [{"image": {"url": url}}]}
        with pytest.raises(MediaError, match=r"image 0 \(data:image/png;base64\): "):
            load_media(Case.model_validate({"name": "a", "summary": "s", "messages": [message]}))
