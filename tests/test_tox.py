"""The tox environments: those of several sessions are red if one of them is; locks are complete."""

from __future__ import annotations

import re
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = sorted((ROOT / "locks").glob("*.txt"))
NO_LOCK = {"vllm-cuda", "lmdeploy-cuda"}
SESSIONS = ("selfcheck", "matrix{,-logits}", "fuzz")


def read_environment(name: str) -> dict[str, str]:
    parser = RawConfigParser()
    parser.read(ROOT / "tox.ini", encoding="utf-8")
    return dict(parser[f"testenv:{name}"])


@pytest.mark.parametrize("name", SESSIONS)
def test_every_command_runs_and_all_have_to_succeed(name: str) -> None:
    environment = read_environment(name)
    commands = environment["commands"].strip().splitlines()
    assert environment["ignore_errors"] == "true"
    assert not [line for line in commands if re.match(r"(\w+: )?-", line)]


@pytest.mark.parametrize("name", SESSIONS)
def test_the_report_requires_the_shard_of_every_session(name: str) -> None:
    environment = read_environment(name)
    *sessions, report = environment["commands"].strip().splitlines()
    started = {match[1] for line in sessions if (match := re.search(r"--shard (\S+)", line))}
    required = set(re.findall(r"--require-shard (\S+)", report + environment.get("required", "")))
    assert len(started) == len(sessions)
    assert {shard.removesuffix("-fuzz") for shard in required} == started


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_is_a_sorted_list_of_public_versions(lock: Path) -> None:
    header, pins = split_lock(lock)
    assert header[0].startswith(f"# Every package of the tox environment {lock.stem}, for Python 3.")
    assert header[1] == f"# Written by: python tools/lock.py {lock.stem}"
    assert [pin for pin in pins if not re.fullmatch(r"[a-z0-9-]+==[a-z0-9.!]+", pin)] == []
    names = [pin.partition("==")[0] for pin in pins]
    assert names == sorted(set(names))


def test_every_environment_has_a_lock_and_latest_has_none() -> None:
    parser = RawConfigParser()
    parser.read(ROOT / "tox.ini", encoding="utf-8")
    assert "constraints" not in parser["testenv"]  # `-latest` would inherit it
    named = set()
    for section in parser.sections():
        if not section.startswith("testenv:"):
            continue
        environment = section.partition(":")[2]
        constraints = parser[section].get("constraints", "")
        assert bool(constraints) == (environment not in NO_LOCK)
        assert constraints.strip().startswith("!latest: ") == environment.endswith("{,-latest}")
        named |= set(re.findall(r"([\w-]+)\.txt$", constraints))
    assert named == {lock.stem for lock in LOCKS}


def test_the_engines_locks_pin_the_versions_of_tox_ini() -> None:
    for name in ("vllm", "lmdeploy"):
        _, pins = split_lock(ROOT / "locks" / f"{name}.txt")
        exact = [dep for dep in read_environment(f"{name}{{,-latest}}")["deps"].split() if "==" in dep]
        assert {re.sub(r"\[.*\]", "", dep) for dep in exact} <= set(pins)


def test_an_incomplete_lock_fails_with_a_sentence(tmp_path: Path) -> None:
    lock = tmp_path / "lint.txt"
    lock.write_text("ruff==1.0\n", encoding="utf-8")
    code = (
        "import sys, subprocess; sys.path.insert(0, sys.argv[1]); import install; "
        "subprocess.run = lambda *_, **__: subprocess.CompletedProcess([], 0); "
        "sys.exit(install.main(['pytest', '-c', sys.argv[2]]))"
    )
    command = [sys.executable, "-c", code, str(ROOT), str(lock)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "lint.txt has no pin of " in done.stderr
    assert "pytest==" in done.stderr
    assert "python tools/lock.py lint" in done.stderr


def split_lock(lock: Path) -> tuple[list[str], list[str]]:
    """Return the lines of the header, and the pins."""
    lines = lock.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("#")], [line for line in lines if line[:1] != "#"]
