"""Workers that are forked instead of started: a session takes tenths of a second instead of seconds.

The imports are done, and the audit hook of ``file_faults`` stays. All else is as usual: ``subprocess``
prepares the process, and the supervisor of the harness runs the worker in another fork.
"""

from __future__ import annotations

import atexit
import gc
import os
import runpy
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from tests.support.faults.streams import open_standard_streams
from vlm_parity.capture import worker
from vlm_parity.util import supervisor

_MODULES = {worker.__name__: worker.__file__}
_DEFAULT = (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGALRM)
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)
"""Signals that an interpreter ignores from its start."""
_MOST_DESCRIPTORS = 4096


def fork_workers(kept: Iterable[int]) -> None:
    """Fork the workers that this process starts from now on.

    Args:
        kept: descriptors that stay open in a worker, in addition to those that it is passed.
    """
    start: Callable[..., None] = subprocess.Popen.__init__

    def start_or_fork(self: Any, args: Any, *others: Any, **options: Any) -> None:
        words = [] if isinstance(args, str | os.PathLike) else list(map(os.fspath, args))
        if worker.__name__ not in words:
            start(self, args, *others, **options)
            return
        descriptors = {0, 1, 2, *options.get("pass_fds", ()), *kept}
        variables = dict(options.get("env") or os.environ)

        def become_program() -> None:
            _close_all_but(descriptors)  # also the pipe on which the parent waits for the new program
            _become(words, variables)

        start(self, args, *others, preexec_fn=become_program, **options)

    subprocess.Popen.__init__ = start_or_fork  # type: ignore[method-assign]


def _close_all_but(descriptors: Iterable[int]) -> None:
    start = 0
    for descriptor in sorted(descriptors):
        if start < descriptor:  # an empty range closes everything in Python 3.11
            os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, _MOST_DESCRIPTORS)


def _become(words: list[str], variables: Mapping[str, str]) -> NoReturn:
    """Do in this process what a command line of the supervisor or the worker does; then end it."""
    gc.enable()
    os.environ.clear()
    os.environ.update(variables)
    open_standard_streams()
    if supervisor.__file__ in words:
        sys.argv = words[words.index(supervisor.__file__) :]
        os.execvp = _build_exec(variables)  # type: ignore[assignment]
        _run(supervisor.__file__)
    sys.argv = words[words.index("-m") + 1 :]
    _reset_signals()
    _run(_MODULES[sys.argv[0]])


def _build_exec(variables: Mapping[str, str]) -> Callable[[str, list[str]], NoReturn]:
    return lambda _, command: _become(command, variables)


def _reset_signals() -> None:
    for number in _DEFAULT:
        signal.signal(number, signal.SIG_DFL)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _run(file: str) -> NoReturn:
    code = 0
    atexit._clear()
    try:
        runpy.run_path(file, run_name="__main__")
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
