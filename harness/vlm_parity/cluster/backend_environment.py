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
from vlm_parity.util.option_types import parse_assignment
from vlm_parity.util.suggestions import describe_unknown_name

_IMAGE, _UV = "image:", "uv:"


@dataclass(frozen=True)
class BackendEnvironment:
    """The Python that runs a backend, and Ray's runtime environment around it."""

    python: str | None = None
    """Path on every node; None for the Python of the runtime environment."""
    runtime_env: tuple[tuple[str, str], ...] = ()
    """Fields of Ray's runtime environment."""

    def build_runtime_env(self) -> dict[str, Any]:
        """Return the runtime environment in Ray's form."""
        return dict(self.runtime_env)


def parse_backend_environment(text: str) -> tuple[str, BackendEnvironment]:
    """Return the backend and the environment of ``BACKEND=PYTHON``, ``=image:IMAGE`` or ``=uv:FILE``.

    Raises:
        ArgumentTypeError: the text has another form, or names a file that does not exist.
    """
    backend, _, value = parse_assignment(text).partition("=")
    if value.startswith(_IMAGE) and value != _IMAGE:
        return backend, BackendEnvironment(runtime_env=(("image_uri", value.removeprefix(_IMAGE)),))
    if value.startswith(_UV):
        requirements = Path(value.removeprefix(_UV)).absolute()
        if not requirements.is_file():
            raise ArgumentTypeError(f"{text!r}: no such file: {requirements}")
        return backend, BackendEnvironment(runtime_env=(("uv", str(requirements)),))
    if not value or value.startswith(_IMAGE):
        raise ArgumentTypeError(f"{text!r} must be BACKEND=PYTHON, BACKEND=image:IMAGE or BACKEND=uv:FILE")
    return backend, BackendEnvironment(str(Path(value).absolute()))


def find_environments(
    requested: Sequence[str], given: Mapping[str, BackendEnvironment]
) -> dict[str, BackendEnvironment]:
    """Return the environment of each backend under test: the given one, else as ``parity check`` finds it.

    Args:
        requested: names of backends; if empty, every backend that has an environment is tested.
        given: environments by backend, of ``--backend-env``.

    Raises:
        EngineNotInstalledError: a requested backend has no environment, or no backend has one.
        UsageError: no backend has a name, or an environment is that of a backend that is not tested.
    """
    known = sorted(list_backend_targets())
    for option, names in (("--backend", requested), ("--backend-env", given)):
        for name in names:
            if name not in known:
                raise UsageError(describe_unknown_name(option, name, known, "no such backend"))
    names = list(dict.fromkeys(requested)) or [name for name in known if name != REFERENCE_BACKEND]
    for name in given:
        if name not in names:
            raise UsageError(f"--backend-env {name}=...: the backend is not tested; add --backend {name}")
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
