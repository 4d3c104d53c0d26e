"""Paths that a user names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vlm_parity.util.errors import UsageError
from vlm_parity.util.option_paths import (
    check_folder,
    check_output_file,
    check_output_folder,
    find_folder,
    path_exists,
)

TOO_LONG = Path("x" * 5000)


@pytest.fixture(autouse=True)
def _file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()


@pytest.mark.parametrize("text", ["", "gone", "file", "~nobody-here/x", str(TOO_LONG), "null\0"])
def test_text_that_names_no_folder(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_folder(text) is None


def test_folder_of_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_folder("~") == tmp_path


def test_folder_to_read_must_exist(tmp_path: Path) -> None:
    check_folder("--suite", tmp_path)
    with pytest.raises(UsageError, match=rf"^--suite {re.escape(str(tmp_path))}/gone: no such folder$"):
        check_folder("--suite", tmp_path / "gone")
    with pytest.raises(UsageError, match=r"is a file, not a folder$"):
        check_folder("--suite", tmp_path / "file")
    with pytest.raises(UsageError, match=r"^--suite x{200}\.\.\.: File name too long$"):
        check_folder("--suite", TOO_LONG)


def test_output_is_checked_without_creating_it(tmp_path: Path) -> None:
    check_output_folder("--run", tmp_path)
    check_output_folder("--run", tmp_path / "new" / "run")
    check_output_file("--matrix", tmp_path / "new" / "matrix.md")
    check_output_file("--matrix", tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("path", ["file", "file/x", "file/x/y"])
def test_output_folder_below_a_file(tmp_path: Path, path: str) -> None:
    message = f"{tmp_path / 'file'} is a file, not a folder: name another folder with --run"
    with pytest.raises(UsageError, match=re.escape(message)):
        check_output_folder("--run", tmp_path / path)


def test_output_folder_that_is_not_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    with pytest.raises(UsageError, match=f"{re.escape(str(tmp_path))} is not writable"):
        check_output_folder("--run", tmp_path / "run")


def test_output_file_that_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^--matrix .*: is a folder, not a file$"):
        check_output_file("--matrix", tmp_path)
    with pytest.raises(UsageError, match="name another file with --matrix"):
        check_output_file("--matrix", tmp_path / "file" / "x.md")


def test_path_that_no_file_system_accepts(tmp_path: Path) -> None:
    assert path_exists("RUN", tmp_path / "file")
    assert not path_exists("RUN", tmp_path / "file" / "x")
    with pytest.raises(UsageError, match="File name too long"):
        path_exists("RUN", TOO_LONG)
