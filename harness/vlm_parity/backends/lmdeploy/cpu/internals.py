"""Finds the private names of LMDeploy that the harness builds on, and says which one is gone."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from vlm_parity.util.errors import PrivateApiChangedError

TESTED_VERSIONS = "0.18.0"
"""The release of LMDeploy that the private names were read from, where none is named."""


@dataclass(frozen=True)
class PrivateApi:
    """A private name: where it is, and which parameters (or fields) it must have."""

    module: str
    name: str
    """Within the module, with dots: ``CacheEngine.allocate``."""
    parameters: tuple[str, ...] = ()
    known_good: str = TESTED_VERSIONS
    """The release of LMDeploy that it was read from."""

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"

    def find(self) -> tuple[Any, str, Any]:
        """The object that holds the name, the name's last part, and what it stands for.

        Raises:
            PrivateApiChangedError: the name is gone, or takes other parameters than it did.
        """
        try:
            holder: Any = import_module(self.module)
        except ImportError as problem:
            raise PrivateApiChangedError(f"{self} is gone: {problem}; {self._versions()}") from problem
        *path, last = self.name.split(".")
        for step in path:
            holder = self._step(holder, step)
        found = self._step(holder, last)
        self._check_parameters(found)
        return holder, last, found

    def _step(self, holder: Any, name: str) -> Any:
        if not hasattr(holder, name):
            raise PrivateApiChangedError(
                f"{self} is gone: there is no {name!r} in {holder}; {self._versions()}"
            )
        return getattr(holder, name)

    def _check_parameters(self, found: Any) -> None:
        if not self.parameters:
            return
        taken = inspect.signature(found).parameters
        for name in self.parameters:
            if name not in taken:
                raise PrivateApiChangedError(
                    f"{self} no longer takes {name!r}, but ({', '.join(taken)}); {self._versions()}"
                )

    def _versions(self) -> str:
        try:
            installed = f"lmdeploy {version('lmdeploy')} is installed"
        except PackageNotFoundError:
            installed = "lmdeploy is not installed"
        return f"{installed}, the harness is written for {self.known_good}"
