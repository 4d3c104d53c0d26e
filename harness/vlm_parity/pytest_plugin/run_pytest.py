"""``parity run``: pytest with the plug-in's options under their short names."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Sequence

import pytest

from vlm_parity.pytest_plugin import plugin
from vlm_parity.pytest_plugin.option_table import PREFIX, AddOption, ShortNames
from vlm_parity.util.errors import UsageError
from vlm_parity.util.exit_codes import FAILED, NOT_COMPARED, PASSED, USAGE

# The command line has imported the package before pytest could rewrite its asserts; it has no use for that.
_QUIET = ("-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning")
_EXIT_CODES = {
    pytest.ExitCode.OK: PASSED,
    pytest.ExitCode.TESTS_FAILED: FAILED,
    pytest.ExitCode.USAGE_ERROR: USAGE,
}


def add_run_options(add: AddOption) -> None:
    """Declare every option of the plug-in, for the help of ``parity run``."""
    plugin.declare_options(add, add)


def add_prefix(words: Iterable[str], names: frozenset[str]) -> list[str]:
    """Return command-line words with ``--<name>`` as ``--parity-<name>`` for each of ``names``.

    Args:
        words: options and paths, without those after ``--``.
        names: short names without dashes.
    """
    prefixed = []
    for word in words:
        name, separator, value = word.removeprefix("--").partition("=")
        is_ours = word.startswith("--") and name in names
        prefixed.append(f"{PREFIX}{name}{separator}{value}" if is_ours else word)
    return prefixed


def run_pytest(arguments: Sequence[str]) -> int:
    """Run pytest and return the harness's exit code.

    A session that selected no test, was interrupted or failed internally compared nothing, or not everything.

    Raises:
        UsageError: pytest cannot read its environment variable.
    """
    try:
        shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))
    except ValueError as error:
        raise UsageError(f"PYTEST_ADDOPTS={os.environ['PYTEST_ADDOPTS']!r}: {error}") from error
    code = pytest.main([*_QUIET, *arguments], plugins=[plugin, ShortNames()])
    return _EXIT_CODES.get(pytest.ExitCode(code), NOT_COMPARED)
