"""The tox environments that run several sessions: each of them is red if one of its sessions is."""

from __future__ import annotations

import re
from configparser import RawConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
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
