"""Environment of a backend on the nodes: a Python, a container image, or an environment that Ray builds."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm_parity.backends.registry import REFERENCE_BACKEND, list_backend_targets
from vlm_parity.check.interpreters import find_interpreter
from vlm_parity.util.errors import EngineNotInstalledError, UsageError
from vlm_parity.util.option_paths import path_exists
from vlm_parity.util.option_types import parse_assignment, parse_path
from vlm_parity.util.suggestions import describe_unknown_name


@dataclass(frozen=True)
class BackendEnvironment:
    """One of three kinds; the Python of a container or of installed requirements is that of Ray's task."""

    python: str | None = None
    """Path of a Python on every node."""
    image: str | None = None
    """Name of a container image."""
    requirements: str | None = None
    """Path of a requirements file on this machine."""

    def build_runtime_env(self) -> dict[str, Any]:
        """Return the runtime environment of Ray; empty for a Python on the nodes."""
        fields = {"image_uri": self.image, "uv": self.requirements}
        return {name: value for name, value in fields.items() if value is not None}


def parse_backend_environment(text: str) -> tuple[str, BackendEnvironment]:
    """Return the backend and the environment of ``BACKEND=PYTHON``, ``=image:IMAGE`` or ``=uv:FILE``.

    Raises:
        ArgumentTypeError: the text has another form.
    """
    backend, _, value = parse_assignment(text).partition("=")
    kind, separator, name = value.partition(":")
    if not value or (separator and kind in {"image", "uv"} and not name):
        raise ArgumentTypeError(f"{text!r} must be BACKEND=PYTHON, BACKEND=image:IMAGE or BACKEND=uv:FILE")
    if separator and kind == "image":
        return backend, BackendEnvironment(image=name)
    if separator and kind == "uv":
        return backend, BackendEnvironment(requirements=str(parse_path(name).absolute()))
    return backend, BackendEnvironment(str(parse_path(value).absolute()))


def find_environments(
    requested: Sequence[str], given: Mapping[str, BackendEnvironment]
) -> dict[str, BackendEnvironment]:
    """Return the environment of each backend under test: the given one, else as ``parity check`` finds it.

    Args:
        requested: names of backends; if empty, every backend that has an environment is tested.
        given: environments by backend, of ``--backend-env``.

    Raises:
        EngineNotInstalledError: a requested backend has no environment, or no backend has one.
        UsageError: no backend has a name, an environment is that of a backend that is not tested, or its
            requirements file does not exist.
    """
    known = sorted(list_backend_targets())
    for option, names in (("--backend", requested), ("--backend-env", given)):
        for name in names:
            if name not in known:
                raise UsageError(describe_unknown_name(option, name, known, "no such backend"))
    names = list(dict.fromkeys(requested)) or [name for name in known if name != REFERENCE_BACKEND]
    for name, environment in given.items():
        if name not in names:
            raise UsageError(f"--backend-env {name}=...: the backend is not tested; add --backend {name}")
        if environment.requirements and not path_exists("--backend-env", Path(environment.requirements)):
            raise UsageError(f"--backend-env {name}: no such file: {environment.requirements}")
    environments: dict[str, BackendEnvironment] = {}
    absent: list[str] = []
    for name in names:
        try:
            environments[name] = given.get(name) or BackendEnvironment(str(find_interpreter(name)))
        except EngineNotInstalledError as error:
            absent.append(f"{error}; or name its environment on the nodes: --backend-env {name}=PYTHON")
    if absent and (requested or not environments):
        raise EngineNotInstalledError("\n".join(absent))
    return environments
