"""Declaration of the plug-in's options: prefixed in pytest, by their short names in ``parity run``.

The plug-in is loaded in every pytest session of its environment, so an option without a prefix would collide
with the options of other test suites.
"""

from __future__ import annotations

import os
import shlex
from typing import Any, Protocol

import pytest

PREFIX = "--parity-"


class AddOption(Protocol):
    """Declares one option; ``settings`` are those of ``argparse.ArgumentParser.add_argument``."""

    def __call__(self, name: str, **settings: Any) -> None: ...


class PrefixedGroup:
    """A group of pytest's parser whose options all get the prefix."""

    def __init__(self, group: pytest.OptionGroup) -> None:
        self._group = group

    def __call__(self, name: str, **settings: Any) -> None:
        """Declare ``--parity-<name>``."""
        self._group.addoption(f"{PREFIX}{name}", **settings)


class ShortNames:
    """Plug-in that marks a session of ``parity run``, whose user writes the options without the prefix."""


def format_option(config: pytest.Config, name: str) -> str:
    """Return an option as the user of the session writes it: ``--case``, or ``--parity-case``."""
    is_short = any(isinstance(plugin, ShortNames) for plugin in config.pluginmanager.get_plugins())
    return f"--{name}" if is_short else f"{PREFIX}{name}"


def is_requested(config: pytest.Config) -> bool:
    """Return whether the session was started by ``parity run`` or with an option of the plug-in."""
    options = shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))
    words = [*map(str, config.invocation_params.args), *config.getini("addopts"), *options]
    return any(isinstance(plugin, ShortNames) for plugin in config.pluginmanager.get_plugins()) or any(
        word.startswith(PREFIX) for word in words
    )


def get_option(config: pytest.Config, name: str) -> Any:
    """Return the value of ``--parity-<name>``."""
    return config.getoption(f"{PREFIX}{name}")
