"""Requirements of an environment, from ``releases.toml`` and overriding versions."""

from __future__ import annotations

import pytest

from vlm_parity.backends import releases
from vlm_parity.backends.releases import ReleaseRange
from vlm_parity.releases.pins import Pins, build_pins, list_harness_requirements
from vlm_parity.util.errors import UnknownReleaseError

OLD = ReleaseRange(
    backend="engine",
    versions=">=0.7,<0.9",
    distribution="engine-cpu",
    transformers="4.51.3",
    requirements=("torch==2.13.0", "numpy==1.26.4"),
    without_own_dependencies=True,
)
NEW = ReleaseRange(
    backend="engine",
    versions=">=0.9",
    distribution="engine-cpu",
    transformers="5.16.1",
    requirements=("engine-cpu[audio]=={version}", "torch==2.13.0"),
)


@pytest.fixture(autouse=True)
def _tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "_load_tables", lambda: (OLD, NEW))


def test_an_old_release_is_installed_without_what_it_asks_for() -> None:
    pins = build_pins("engine", "0.7.3")
    assert pins.shared == ("torch==2.13.0",)
    assert pins.bare == ("engine-cpu==0.7.3", "numpy==1.26.4", "transformers==4.51.3")
    assert pins.full == ()


def test_a_new_one_with_it_and_with_its_extras() -> None:
    pins = build_pins("engine", "0.9.1")
    assert pins.bare == ()
    assert pins.full == ("engine-cpu[audio]==0.9.1", "transformers==5.16.1")


def test_versions_override_the_table() -> None:
    versions = {"transformers": "4.52.4", "pillow": "11.0.0"}
    pins = build_pins("engine", "0.7.3", versions)
    assert "transformers==4.52.4" in pins.bare
    assert "pillow==11.0.0" in pins.bare
    assert pins.folder != build_pins("engine", "0.7.3").folder


def test_shared_packages_have_their_own_environment() -> None:
    base = build_pins("engine", "0.7.3").base
    assert base == Pins(name="torch==2.13.0", full=("torch==2.13.0",))
    assert base is not None
    assert base.base is None
    assert "=" not in base.folder


def test_a_release_of_no_table_says_what_there_is() -> None:
    with pytest.raises(UnknownReleaseError, match=r"engine 0\.1: .* supports >=0\.7,<0\.9; >=0\.9"):
        build_pins("engine", "0.1")


def test_the_harness_needs_what_it_imports_and_no_more() -> None:
    names = [need.partition(">")[0] for need in list_harness_requirements()]
    assert "pydantic" in names
    assert "pytest" in names
    assert "mypy" not in names
    assert "torch" not in names
