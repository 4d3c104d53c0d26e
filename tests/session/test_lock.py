"""The lock of an environment, and the packages that differ from it."""

from __future__ import annotations

from pathlib import Path

from vlm_parity.schema.run import LockDifference
from vlm_parity.session.lock import list_installed, read_lock

LOCK = "# vllm\n# Every package ...\nalpha==1.0\nbeta==2.0\n"


def test_an_environment_without_a_lock_has_none(tmp_path: Path) -> None:
    assert read_lock(tmp_path / "parity-lock.txt", {"alpha": "1.0"}) is None


def test_equal_versions_do_not_differ(tmp_path: Path) -> None:
    path = tmp_path / "parity-lock.txt"
    path.write_text(LOCK, encoding="utf-8")
    lock = read_lock(path, {"alpha": "1.0", "beta": "2.0"})
    assert lock is not None
    assert (lock.name, lock.pins, lock.differences) == ("vllm", 2, ())


def test_changed_absent_and_additional_packages_differ(tmp_path: Path) -> None:
    path = tmp_path / "parity-lock.txt"
    path.write_text(LOCK, encoding="utf-8")
    lock = read_lock(path, {"alpha": "1.1", "gamma": "3.0"})
    assert lock is not None
    assert lock.differences == (
        LockDifference(name="alpha", pinned="1.0", installed="1.1"),
        LockDifference(name="beta", pinned="2.0", installed=None),
        LockDifference(name="gamma", pinned=None, installed="3.0"),
    )


def test_the_installed_packages_have_normalized_names_and_public_versions() -> None:
    installed = list_installed()
    assert "pydantic-core" in installed
    assert "pip" not in installed
    assert not [version for version in installed.values() if "+" in version]
