"""Which adapter speaks to a release."""

from __future__ import annotations

from importlib import import_module

import pytest
from packaging.requirements import Requirement

from harness.backends import BUILT_IN, backend_class, releases
from harness.backends.base import Backend
from harness.backends.releases import UnknownRelease, releases_of, releases_taking

LMDEPLOY = {
    "lmdeploy_0_7:Lmdeploy07": (
        "0.7.0", "0.7.0.post3", "0.7.1", "0.7.2", "0.7.2.post1", "0.7.3", "0.8.0",
        "0.9.0", "0.9.1", "0.9.2", "0.9.2.post1",
    ),
    "lmdeploy_0_10:Lmdeploy010": ("0.10.0", "0.10.1", "0.10.2"),
    "lmdeploy_0_10:Lmdeploy011": ("0.11.0", "0.11.1"),
}  # fmt: skip
EVERY = [(target, release) for target, found in LMDEPLOY.items() for release in found]


@pytest.mark.parametrize(("target", "release"), EVERY)
def test_a_release_of_lmdeploy_has_its_adapter(target: str, release: str) -> None:
    found = releases_taking("lmdeploy", release)
    assert found.target == f"harness.backends.{target}"
    assert found.without_its_own


@pytest.mark.parametrize("release", ["0.15.0", "0.16.0", "0.17.0", "0.18.0"])
def test_the_newest_releases_of_lmdeploy_have_the_newest_adapter(release: str) -> None:
    assert releases_taking("lmdeploy", release).target is None


def test_what_no_table_takes_is_named() -> None:
    with pytest.raises(UnknownRelease, match=r"lmdeploy 0\.6\.5: .* takes .*>=0\.7\.0"):
        releases_taking("lmdeploy", "0.6.5")


@pytest.mark.parametrize("backend", BUILT_IN)
def test_every_adapter_is_there_and_every_need_pinned(backend: str) -> None:
    for table in releases_of(backend):
        if table.target is not None:
            module, _, name = table.target.partition(":")
            assert issubclass(getattr(import_module(module), name), Backend)
        for need in table.needs:
            (pin,) = Requirement(need.replace("{version}", "1.0")).specifier
            assert pin.operator == "=="


@pytest.mark.parametrize(
    ("installed", "name"), [("0.7.3", "Lmdeploy07"), ("0.11.0", "Lmdeploy011"), ("99.0", "LmdeployBackend")]
)
def test_the_installed_release_chooses(monkeypatch: pytest.MonkeyPatch, installed: str, name: str) -> None:
    monkeypatch.setattr(releases, "_installed", lambda distribution: installed)  # noqa: ARG005
    assert backend_class("lmdeploy").__name__ == name
