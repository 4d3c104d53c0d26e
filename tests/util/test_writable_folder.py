"""Folders that will be written into: created, or an error that names them."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from vlm_parity.util.errors import UsageError
from vlm_parity.util.writable_folder import ensure_writable


def ensure(folder: Path) -> None:
    ensure_writable(folder, "the run folder", "name another")


def test_a_folder_is_created_and_left_empty(tmp_path: Path) -> None:
    for _ in range(2):
        ensure(tmp_path / "a" / "b")
        assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_file_in_its_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UsageError) as caught:
            ensure(folder)
        assert str(caught.value).startswith(f"{folder}: the run folder cannot be written (")
        assert str(caught.value).endswith("): name another")


def test_a_place_that_cannot_be_written_is_named() -> None:
    with pytest.raises(UsageError, match=r"/proc/run: the run folder cannot be written"):
        ensure(Path("/proc/run"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="Permission denied"):
        ensure(tmp_path)


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty file can be created on a full disk."""
    full = partial(open, "/dev/full", "wb", buffering=0)
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full())
    with pytest.raises(UsageError, match="No space left on device"):
        ensure(tmp_path)
