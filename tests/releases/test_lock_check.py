"""Newer releases of installed packages, as pip lists them."""

from __future__ import annotations

import subprocess

import pytest

from vlm_parity.releases import lock_check
from vlm_parity.releases.lock_check import NewerRelease, list_newer_releases
from vlm_parity.util.errors import PackageIndexError


def answer(monkeypatch: pytest.MonkeyPatch, stdout: str, stderr: str = "", code: int = 0) -> None:
    done = subprocess.CompletedProcess([], code, stdout, stderr)
    monkeypatch.setattr(lock_check, "list_published_releases", lambda _: ["1"])
    monkeypatch.setattr(lock_check, "run_child", lambda *_, **__: done)


def test_newer_releases_are_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = '{"name": "%s", "version": "1", "latest_version": "2", "latest_filetype": "wheel"}'
    answer(monkeypatch, f"[{entry % 'torch'}, {entry % 'av'}]")
    assert list_newer_releases() == [NewerRelease("av", "1", "2"), NewerRelease("torch", "1", "2")]


@pytest.mark.parametrize(
    ("stdout", "stderr", "code"),
    [("", "no such option", 2), ("[]", "WARNING: Retrying", 0), ("hello", "", 0)],
)
def test_an_index_that_cannot_be_read_is_an_error(
    stdout: str, stderr: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, stdout, stderr, code)
    with pytest.raises(PackageIndexError, match="pip"):
        list_newer_releases()
