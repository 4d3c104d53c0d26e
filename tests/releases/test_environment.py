"""Environments are built once; a build that failed or was cut off is never taken for whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vlm_parity.releases import environment
from vlm_parity.releases.environment import (
    ENVIRONMENT_FILE,
    BuiltEnvironment,
    build_environment,
    get_environments_root,
    get_python,
    measure_disk_usage,
)
from vlm_parity.releases.pins import Pins
from vlm_parity.schema.record import write_record
from vlm_parity.util.errors import EnvironmentBuildError

NOTHING = Pins(name="nothing")


def test_a_real_one_is_made_once_and_found_again(cache: Path) -> None:
    said: list[str] = []
    built, is_new = build_environment(NOTHING, said.append)
    assert is_new
    assert said == ["building the environment nothing"]
    assert get_python(NOTHING).is_relative_to(cache)
    command = [str(get_python(NOTHING)), "-c", "import sys; print(sys.prefix)"]
    inside = subprocess.run(command, check=True, capture_output=True, text=True)
    assert inside.stdout.strip() == str(get_environments_root() / NOTHING.folder)
    assert "pip" in built.packages
    assert build_environment(NOTHING, said.append) == (built, False)
    assert measure_disk_usage([NOTHING.folder]) == built.bytes


def test_a_build_that_was_cut_off_is_made_again(cache: Path) -> None:
    assert not cache.exists()
    folder = get_environments_root() / NOTHING.folder
    folder.mkdir(parents=True)
    (folder / "left-over").touch()
    _, is_new = build_environment(NOTHING, lambda _: None)
    assert is_new
    assert not (folder / "left-over").exists()


def test_what_the_installer_says_is_what_a_user_reads(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not cache.exists()
    failing = [sys.executable, "-c", "import sys; print('no matching distribution'); sys.exit(3)"]
    monkeypatch.setattr(environment, "_pip", lambda _: failing)
    pins = Pins(name="engine-9.9", full=("engine==9.9",))
    with pytest.raises(
        EnvironmentBuildError, match=r"(?s)engine-9\.9 .*exit status 3.*no matching distribution"
    ):
        build_environment(pins, lambda _: None)
    assert not (get_environments_root() / pins.folder / ENVIRONMENT_FILE).exists()


def test_what_is_shared_counts_once(cache: Path) -> None:
    assert not cache.exists()
    shared = Pins(name="torch==1", full=("torch==1",))
    users = [Pins(name=name, shared=("torch==1",), bare=(name,)) for name in ("a", "b")]
    for pins, size in ((shared, 700), (users[0], 10), (users[1], 20)):
        built = BuiltEnvironment(pins=pins, python="3.11", packages={}, seconds=1.0, bytes=size)
        write_record(get_environments_root() / pins.folder / ENVIRONMENT_FILE, built)
    assert measure_disk_usage(pins.folder for pins in users) == 730
