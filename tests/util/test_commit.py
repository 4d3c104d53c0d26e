"""The commit that a folder is at."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vlm_parity.util.child_process import run_child
from vlm_parity.util.commit import read_commit

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *words: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    run_child(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    git(tmp_path, "init")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "first")
    git(tmp_path, "tag", "v1")
    return tmp_path


def test_commit_is_read_in_full_even_if_tagged(clone: Path) -> None:
    commit = read_commit(clone)
    assert len(commit) == 40
    assert set(commit) <= set("0123456789abcdef")


def test_changed_file_is_stated(clone: Path) -> None:
    commit = read_commit(clone)
    (clone / "file").write_text("two")
    assert read_commit(clone) == f"{commit}-dirty"


def test_folder_outside_a_clone_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert read_commit(tmp_path) == ""


def test_without_git_there_is_no_commit(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert read_commit(clone) == ""
