"""Environments of backends on the nodes."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from vlm_parity.cluster import backend_environment
from vlm_parity.cluster.backend_environment import (
    BackendEnvironment,
    find_environments,
    parse_backend_environment,
)
from vlm_parity.util.errors import EngineNotInstalledError, UsageError


def test_forms_of_an_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parsed = {
        text: parse_backend_environment(f"vllm={text}")
        for text in ("bin/python", "image:host:5000/vllm@sha256:0", "uv:requirements.txt")
    }
    requirements = str(tmp_path / "requirements.txt")
    assert parsed == {
        "bin/python": ("vllm", BackendEnvironment(str(tmp_path / "bin/python"))),
        "image:host:5000/vllm@sha256:0": ("vllm", BackendEnvironment(image="host:5000/vllm@sha256:0")),
        "uv:requirements.txt": ("vllm", BackendEnvironment(requirements=requirements)),
    }
    assert [environment.build_runtime_env() for _, environment in parsed.values()] == [
        {},
        {"image_uri": "host:5000/vllm@sha256:0"},
        {"uv": requirements},
    ]


@pytest.mark.parametrize("text", ["vllm", "=python", "vllm=", "vllm=image:", "vllm=uv:"])
def test_other_forms_are_errors(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        parse_backend_environment(text)


def find_only_vllm(name: str) -> Path:
    if name != "vllm":
        raise EngineNotInstalledError(f"{name} is not installed here")
    return Path("/opt/vllm/python")


def test_engines_are_found_as_in_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_environment, "find_interpreter", find_only_vllm)
    given = {"lmdeploy": BackendEnvironment("/opt/lmdeploy")}
    found = BackendEnvironment("/opt/vllm/python")
    assert find_environments((), {}) == {"vllm": found}
    assert find_environments((), given) == {"vllm": found, **given}
    assert find_environments(["vllm"], {}) == {"vllm": found}


def test_a_backend_without_an_environment_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_environment, "find_interpreter", find_only_vllm)
    with pytest.raises(EngineNotInstalledError, match="--backend-env lmdeploy=PYTHON"):
        find_environments(["vllm", "lmdeploy"], {})


def test_missing_requirements_are_a_usage_error(tmp_path: Path) -> None:
    given = {"vllm": BackendEnvironment(requirements=str(tmp_path / "nope.txt"))}
    with pytest.raises(UsageError, match=r"--backend-env vllm: no such file: .*nope\.txt"):
        find_environments(["vllm"], given)


@pytest.mark.parametrize(
    ("requested", "message"),
    [((), "--backend-env transformers=...: the backend is not tested"), (["vlm"], "did you mean vllm")],
)
def test_wrong_backends_are_usage_errors(requested: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_environments(requested, {"transformers": BackendEnvironment(sys.executable)})
