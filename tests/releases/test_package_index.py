"""Releases in the order of their versions, and those between two of them."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from vlm_parity.releases import package_index
from vlm_parity.releases.package_index import (
    check_published,
    is_unknown_distribution,
    list_published_releases,
    select_releases_between,
    sort_releases,
)
from vlm_parity.util.errors import PackageIndexError, UsageError

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
    with pytest.raises(PackageIndexError, match="lmdeplay: ERROR: No matching distribution") as caught:
        list_published_releases("lmdeplay")
    assert is_unknown_distribution(caught.value)


def test_release_that_is_not_published_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        commands.append(command)
        versions = ["1.1rc1", "1.0"] if "--pre" in command else ["1.0", "0.9"]
        return SimpleNamespace(returncode=0, stdout=json.dumps({"versions": versions}), stderr="")

    monkeypatch.setattr(package_index, "run_child", run)
    check_published("--releases", "engine", ["1.0.0", "0.9"])
    check_published("--releases", "engine", ["1.1rc1"])  # prereleases are listed if one is named
    with pytest.raises(UsageError, match=r"^--releases 2\.0: .* no such release of engine .*: 0\.9, 1\.0$"):
        check_published("--releases", "engine", ["1.0", "2.0"])
    with pytest.raises(UsageError, match=r"^--releases 2\.0rc1: "):
        check_published("--releases", "engine", ["2.0rc1"])
    commands.clear()
    check_published("--releases", "engine", [])
    assert commands == []


def test_index_that_cannot_be_reached_is_no_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = "WARNING: Retrying (Retry(total=4)) ...\nERROR: No matching distribution found for engine"
    done = SimpleNamespace(returncode=1, stdout="", stderr=stderr)
    monkeypatch.setattr(package_index, "run_child", lambda *_, **__: done)
    with pytest.raises(PackageIndexError) as caught:
        check_published("--releases", "engine", ["1.0"])
    assert not is_unknown_distribution(caught.value)
