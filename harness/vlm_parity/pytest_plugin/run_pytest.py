"""``parity run``: pytest with the plug-in's options under their short names."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from vlm_parity.pytest_plugin import plugin
from vlm_parity.pytest_plugin.option_table import PREFIX, AddOption, ShortNames
from vlm_parity.util.errors import ParityError, UsageError
from vlm_parity.util.exit_codes import FAILED, NOT_COMPARED, PASSED, USAGE

# The command line has imported the package before pytest could rewrite its asserts; it has no use for that.
_QUIET = ("-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning")
_EXIT_CODES = {
    pytest.ExitCode.OK: PASSED,
    pytest.ExitCode.TESTS_FAILED: FAILED,
    pytest.ExitCode.USAGE_ERROR: USAGE,
}
_ARGPARSE_ERROR = re.compile(r"^[^\n]*?: error: (.*)$", re.MULTILINE)
"""An error of pytest's parser, after lines on pytest's usage."""


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
        EngineNotInstalledError: a requested engine is not installed.
        UsageError: an option is wrong, one of pytest's included, or pytest cannot read its environment
            variable.
    """
    try:
        shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))
    except ValueError as error:
        raise UsageError(f"PYTEST_ADDOPTS={os.environ['PYTEST_ADDOPTS']!r}: {error}") from error
    code = pytest.main([*_QUIET, *arguments], plugins=[plugin, ParityRun()])
    if code == pytest.ExitCode.NO_TESTS_COLLECTED:
        sys.stderr.write("parity run: no test was selected, so nothing was compared\n")
    return _EXIT_CODES.get(pytest.ExitCode(code), NOT_COMPARED)


class ParityRun(ShortNames):
    """Plug-in that checks all options before the session begins and passes usage errors on to the caller.

    pytest would begin a session, under its own header, and print them with its own prefix.
    """

    @pytest.hookimpl(wrapper=True)
    def pytest_cmdline_parse(self) -> Generator[None, Any, Any]:
        """Pass on errors of pytest's parser."""
        with _translate_usage_errors():
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_cmdline_main(self) -> Generator[None, Any, Any]:
        """Pass on usage errors of the session."""
        with _translate_usage_errors():
            return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Check the options before pytest prints its header.

        Raises:
            pytest.UsageError: an option names something that does not exist, or an engine is not installed.
        """
        from vlm_parity.pytest_plugin.option_checks import check_session
        from vlm_parity.pytest_plugin.state import get_state

        check_session(session.config, get_state(session.config))


@contextmanager
def _translate_usage_errors() -> Iterator[None]:
    try:
        yield
    except pytest.UsageError as error:
        if isinstance(error.__cause__, ParityError):
            raise error.__cause__ from None
        text = "\n".join(map(str, error.args))
        parser_error = _ARGPARSE_ERROR.search(text)
        raise UsageError(f"pytest: {parser_error[1]}" if parser_error else text) from None
