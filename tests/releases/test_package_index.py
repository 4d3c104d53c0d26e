"""Releases in the order of their versions, and those between two of them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from vlm_parity.releases import package_index
from vlm_parity.releases.package_index import list_published_releases, select_releases_between, sort_releases
from vlm_parity.util.errors import PackageIndexError

RELEASES = ["0.7.2", "0.7.2.post1", "0.7.3", "0.8.0", "0.10.0", "0.10.2"]


def test_versions_are_no_texts() -> None:
    assert sort_releases(["0.10.2", "0.7.2.post1", "0.7.2", "0.10.0", "0.8.0", "0.7.3", "0.8.0"]) == RELEASES


def test_both_ends_belong_to_it() -> None:
    assert select_releases_between(RELEASES, "0.7.3", "0.10.0") == ["0.7.3", "0.8.0", "0.10.0"]


def test_it_may_go_backwards() -> None:
    assert select_releases_between(RELEASES, "0.8.0", "0.7.2") == ["0.8.0", "0.7.3", "0.7.2.post1", "0.7.2"]


def test_what_is_no_version_is_said() -> None:
    with pytest.raises(PackageIndexError, match="newest"):
        sort_releases(["0.7.2", "newest"])


def test_json_of_pip_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    output = '{"name": "lmdeploy", "versions": ["0.10.0", "0.8.0", "0.7.3"], "latest": "0.10.0"}\n'
    done = SimpleNamespace(returncode=0, stdout=output, stderr="WARNING: pip index is experimental")
    monkeypatch.setattr(package_index, "run_child", lambda *_, **__: done)
    assert list_published_releases("lmdeploy") == ["0.7.3", "0.8.0", "0.10.0"]


def test_text_of_a_pip_without_json_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    output = "lmdeploy (0.8.0)\nAvailable versions: 0.8.0, 0.7.3, 0.10.0\n  INSTALLED: 0.7.3\n"

    def run(command: list[str], **_: object) -> SimpleNamespace:
        if "--json" in command:
            return SimpleNamespace(returncode=2, stdout="", stderr="\nno such option: --json\n")
        return SimpleNamespace(returncode=0, stdout=output, stderr="")

    monkeypatch.setattr(package_index, "run_child", run)
    assert list_published_releases("lmdeploy") == ["0.7.3", "0.8.0", "0.10.0"]


def test_unexpected_output_of_pip_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    done = SimpleNamespace(returncode=0, stdout="lmdeploy (0.8.0)", stderr="")
    monkeypatch.setattr(package_index, "run_child", lambda *_, **__: done)
    with pytest.raises(PackageIndexError, match=r"unexpected output .*: lmdeploy \(0\.8\.0\)"):
        list_published_releases("lmdeploy")


def test_an_error_of_pip_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    done = SimpleNamespace(
        returncode=1, stdout="", stderr="ERROR: No matching distribution found for lmdeplay"
    )
    monkeypatch.setattr(package_index, "run_child", lambda *_, **__: done)
    with pytest.raises(PackageIndexError, match="lmdeplay: ERROR: No matching distribution"):
        list_published_releases("lmdeplay")
