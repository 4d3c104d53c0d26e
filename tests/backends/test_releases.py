"""Adapters and requirements of releases."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from vlm_parity.backends import releases
from vlm_parity.backends.base import Backend
from vlm_parity.backends.registry import BUILT_IN, load_backend_class
from vlm_parity.backends.releases import find_releases, load_releases, read_releases
from vlm_parity.util.errors import ReleaseTableError, UnknownReleaseError


@pytest.mark.parametrize(
    ("backend", "release"),
    [
        *(("lmdeploy", release) for release in ("0.15.0", "0.16.0", "0.17.0", "0.18.0")),
        *(("vllm", release) for release in ("0.31.0", "0.32.0")),
    ],
)
def test_the_newest_releases_have_the_newest_adapter(backend: str, release: str) -> None:
    assert find_releases(backend, release).target is None


def test_an_error_names_an_unsupported_release() -> None:
    with pytest.raises(UnknownReleaseError, match=r"lmdeploy 0\.6\.5: .* supports .*>=0\.7\.0"):
        find_releases("lmdeploy", "0.6.5")


@pytest.mark.parametrize("backend", BUILT_IN)
def test_every_adapter_exists_and_every_requirement_is_pinned(backend: str) -> None:
    for table in load_releases(backend):
        if table.target is not None:
            module, _, name = table.target.partition(":")
            assert issubclass(getattr(import_module(module), name), Backend)
        for requirement in table.requirements:
            (pin,) = Requirement(requirement.replace("{version}", "1.0")).specifier
            assert pin.operator == "=="


@pytest.mark.parametrize(
    ("installed", "name"), [("0.7.3", "Lmdeploy07"), ("0.11.0", "Lmdeploy011"), ("99.0", "LmdeployBackend")]
)
def test_the_installed_release_selects_the_adapter(
    monkeypatch: pytest.MonkeyPatch, installed: str, name: str
) -> None:
    monkeypatch.setattr(releases, "_installed_version", lambda _: installed)
    assert load_backend_class("lmdeploy").__name__ == name


def test_requirement_sets_are_expanded() -> None:
    (requirements,) = {table.requirements for table in load_releases("lmdeploy") if table.supports("0.7.3")}
    assert {"numpy==1.26.4", "tokenizers==0.21.4"} <= set(requirements)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("releases = 1", "releases: must be a list"),
        ("[[releases]]\nbackend = 'vllm'", "releases.0.versions: is missing"),
        ("[[releases]]\nbackend = 'vllm'\nversions = 'old'", "releases.0.versions: Invalid specifier: 'old'"),
        (
            "[[releases]]\nbackend = 'vllm'\nversions = '>=1'\nrequirements = ['@cpu']",
            "vllm >=1: no set of requirements @cpu",
        ),
        ("releases", "Expected '=' after a key"),
        ("\xff", "codec can't decode byte"),
        ("a = " + "[" * 10_000, "too many lists and tables within each other"),
    ],
)
def test_a_damaged_table_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "releases.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ReleaseTableError) as caught:
        read_releases(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
