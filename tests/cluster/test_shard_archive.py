"""Shards as bytes: the same files on the other side, and nothing outside the folder."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path
from zipfile import ZipFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.cluster.shard_archive import pack_shard, unpack_shard
from vlm_parity.util.errors import RecordError

NAMES = st.text("abz.-_é", min_size=1, max_size=8).filter(lambda name: name not in {".", ".."})
FILES = st.dictionaries(NAMES.map("d-{}".format) | st.just("shard.json"), st.binary(max_size=50), max_size=6)


def read_files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@given(FILES, NAMES)
def test_every_file_arrives(files: dict[str, bytes], folder: str) -> None:
    with tempfile.TemporaryDirectory() as root:
        source, target = Path(root, "source"), Path(root, "target")
        for name, content in files.items():
            path = source / name if name == "shard.json" else source / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        target.mkdir()
        assert unpack_shard(pack_shard(source), target) == ("shard.json" in files)
        assert read_files(target) == (read_files(source) if source.exists() else {})


@given(st.binary(max_size=200))
def test_other_bytes_are_an_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as root, pytest.raises(RecordError):
        unpack_shard(content, Path(root))


@given(st.integers(0, 400), st.integers(1, 255))
def test_a_changed_byte_is_an_error_or_harmless(position: int, change: int) -> None:
    with tempfile.TemporaryDirectory() as root:
        source, target = Path(root, "source"), Path(root, "in", "target")
        source.mkdir()
        target.mkdir(parents=True)
        (source / "shard.json").write_text("{}")
        (source / "verdict.json").write_text("verdict" * 30)
        content = bytearray(pack_shard(source))
        content[position % len(content)] ^= change
        try:
            unpack_shard(bytes(content), target)
        except RecordError:
            pass
        else:
            assert set(read_files(target).values()) <= set(read_files(source).values())
        assert read_files(Path(root, "in")).keys() <= {f"target/{name}" for name in read_files(target)}


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a/../../x", "a//x", "a\\x", "x\0y", "a/", "a/" * 20 + "x", "y" * 300]
)
def test_names_that_lead_elsewhere_are_errors(name: str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as archive:
        archive.writestr("aa", "content")
    stored = buffer.getvalue()
    folder = tmp_path / "in" / "folder"
    folder.mkdir(parents=True)
    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as archive:
        archive.writestr(name.replace("\0", "0"), "content")
    content = buffer.getvalue() if "\0" not in name else stored.replace(b"aa", b"a/")
    with pytest.raises(RecordError):
        unpack_shard(content, folder)
    assert read_files(tmp_path) == {}


def test_links_and_pipes_stay_behind(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    (tmp_path / "secret").write_text("secret")
    (source / "link").symlink_to(tmp_path / "secret")
    (source / "folder").symlink_to(tmp_path)
    os.mkfifo(source / "pipe")
    (source / "file").write_text("content")
    unpack_shard(pack_shard(source), target)
    assert read_files(target) == {"file": b"content"}
