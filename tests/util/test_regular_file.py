"""Files that are read only if they are regular and small enough."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from vlm_parity.util.errors import UnreadableFileError
from vlm_parity.util.regular_file import read_regular_file


def read_error(path: Path, max_bytes: int = 10) -> str:
    with pytest.raises(UnreadableFileError) as caught:
        read_regular_file(path, max_bytes)
    return str(caught.value)


def test_content_up_to_the_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        assert read_regular_file(tmp_path / name, 10) == b"0123456789"
    assert read_error(tmp_path / "file", 9) == "is too large: 10 bytes or more, and the limit is 9"


def test_file_without_a_size_is_limited_as_well() -> None:
    assert Path("/proc/self/status").stat().st_size == 0
    assert read_error(Path("/proc/self/status")).startswith("is too large: ")


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    assert read_error(tmp_path) == "is a folder, not a file"
    assert read_error(tmp_path / "pipe") == "is a pipe, not a file"
    assert read_error(tmp_path / "socket") == "is a socket, not a file"
    assert read_error(Path("/dev/zero")) == "is a device, not a file"


def test_reason_comes_without_the_path(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert read_error(tmp_path / "none") == "no such file"
    assert read_error(tmp_path / "loop") == "too many levels of symbolic links"
    assert read_error(tmp_path / ("x" * 300)) == "file name too long"
    assert read_error(tmp_path / "a\0b").startswith("the name is not valid: ")
