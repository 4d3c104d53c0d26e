"""The oracle: a bad file ends in a sentence, a good one in a result, both soon and within memory."""

from __future__ import annotations

import resource
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import FrameType

from tests.byte_fuzzer.target import Target
from vlm_parity.util.errors import ParityError

MAX_SECONDS = 5.0
"""Processor time for one file."""
MAX_BYTES = 2**30
"""Memory for one file, in addition to that of the process before."""
_PACKAGE = "/vlm_parity/"
_INNERMOST = 2
"""Number of the harness's frames that tell one finding from another."""


class Outcome(StrEnum):
    """Outcome of one file."""

    SENTENCE = "sentence"
    RESULT = "result"
    FINDING = "finding"


@dataclass(frozen=True)
class Reading:
    """The outcome of reading one file."""

    outcome: Outcome
    key: str = ""
    """Findings with the same key are taken for one."""
    report: str = ""
    """The traceback or the violated rule."""


class TooSlow(BaseException):
    """A file took too long."""


def limit_memory() -> None:
    """Let this process allocate no more than ``MAX_BYTES`` in addition to what it has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + MAX_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def read_content(target: Target, folder: Path, content: bytes) -> Reading:
    """Write a content to the file of a target and read it."""
    path = folder / target.file
    path.write_bytes(content)
    try:
        with _limit_time():
            target.read(folder)
    except ParityError as error:
        return _check_sentence(str(error))
    except TooSlow as error:
        return Reading(
            Outcome.FINDING,
            f"slow {_locate(error)}",
            f"more than {MAX_SECONDS:g} s of processor time\n{traceback.format_exc()}",
        )
    except Exception as error:
        return Reading(Outcome.FINDING, f"{type(error).__name__} {_locate(error)}", traceback.format_exc())
    return Reading(Outcome.RESULT)


def _check_sentence(text: str) -> Reading:
    """Check that a sentence can be printed and says something."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return Reading(Outcome.FINDING, "unprintable sentence", f"{error}: {text!r}")
    if not text.strip() or "Traceback" in text:
        return Reading(Outcome.FINDING, "no sentence", repr(text))
    return Reading(Outcome.SENTENCE)


@contextmanager
def _limit_time() -> Iterator[None]:
    stopped = False

    def stop(_: int, __: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        raise TooSlow

    start = time.process_time()
    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    # The harness caught the exception, or code in C held it back; the timer may be early by a tick.
    if stopped or time.process_time() - start > MAX_SECONDS:
        raise TooSlow


def _locate(error: BaseException) -> str:
    """Return the innermost frames of the harness."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _PACKAGE in frame.filename]
    return " < ".join(f"{Path(frame.filename).name}:{frame.name}" for frame in frames[: -_INNERMOST - 1 : -1])
