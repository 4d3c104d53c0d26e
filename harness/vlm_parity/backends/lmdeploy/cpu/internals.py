"""Lookup of the private names of LMDeploy that the harness depends on."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from vlm_parity.util.errors import PrivateApiChangedError

TESTED_VERSIONS = "0.18.0"
"""The release of LMDeploy that the harness was last adapted to."""


@dataclass(frozen=True)
class PrivateApi:
    """A private name: its location, and the parameters (or fields) that it must have."""

    module: str
    name: str
    """Path within the module, such as ``CacheEngine.allocate``."""
    parameters: tuple[str, ...] = ()
    tested_version: str = TESTED_VERSIONS
    """The release of LMDeploy in which it was verified."""

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"

    def find(self) -> tuple[Any, str, Any]:
        """Import the object.

        Returns:
            The object that holds the name, the last part of the name, and its value.

        Raises:
            PrivateApiChangedError: the name is gone, or lacks a parameter.
        """
        try:
            holder: Any = import_module(self.module)
        except ImportError as error:
            raise PrivateApiChangedError(f"{self} is gone: {error}; {self._describe_versions()}") from error
        *path, last = self.name.split(".")
        for name in path:
            holder = self._get(holder, name)
        value = self._get(holder, last)
        self._check_parameters(value)
        return holder, last, value

    def _get(self, holder: Any, name: str) -> Any:
        if not hasattr(holder, name):
            raise PrivateApiChangedError(
                f"{self} is gone: there is no {name!r} in {holder}; {self._describe_versions()}"
            )
        return getattr(holder, name)

    def _check_parameters(self, value: Any) -> None:
        if not self.parameters:
            return
        actual = inspect.signature(value).parameters
        for name in self.parameters:
            if name not in actual:
                raise PrivateApiChangedError(
                    f"{self} has no parameter {name!r}, only ({', '.join(actual)}); "
                    f"{self._describe_versions()}"
                )

    def _describe_versions(self) -> str:
        try:
            installed = f"lmdeploy {version('lmdeploy')} is installed"
        except PackageNotFoundError:
            installed = "lmdeploy is not installed"
        return f"{installed}, vlm-parity was tested with {self.tested_version}"
