"""Origin of an exception: the harness's own code, or an engine that it called.

The traceback decides. An exception in the harness's own code is never the engine's, whichever process it was
raised in.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from vlm_parity.util.errors import (
    EngineCrashedError,
    EngineError,
    HookError,
    ModeNotApplicableError,
    PrivateApiChangedError,
    RequestRefusedError,
    ServerEndedError,
    UnexpectedResponseError,
    UnsupportedError,
    WorkerDiedError,
)

_PACKAGE = Path(__file__).resolve().parents[1]
_HARNESS_FAILURES = (PrivateApiChangedError, HookError)
_STATEMENTS_ABOUT_ENGINES = (
    EngineCrashedError,
    EngineError,
    ModeNotApplicableError,
    RequestRefusedError,
    ServerEndedError,
    UnexpectedResponseError,
    UnsupportedError,
    WorkerDiedError,
)
"""The errors by which the harness states what an engine did."""
_CALLED_LIBRARIES = sys.stdlib_module_names | {"PIL", "numpy", "pydantic", "safetensors", "torch"}
"""Libraries that the harness and engines both call: an exception inside one of them is its caller's."""
_MAX_FRAMES = 6


def is_harness_error(error: BaseException) -> bool:
    """Return whether an exception was raised in the harness's own code, or states that the harness failed.

    Frames of general libraries are skipped. The innermost remaining frame decides: one in ``vlm_parity``
    means that the harness failed, for instance on an engine's result of an unexpected form.
    """
    if isinstance(error, _HARNESS_FAILURES):
        return True
    if isinstance(error, EngineCrashedError | EngineError) and error.__cause__ is not None:
        return is_harness_error(error.__cause__)
    if isinstance(error, _STATEMENTS_ABOUT_ENGINES):
        return False
    return next((_is_own(frame) for frame in _frames_inside_out(error) if not _is_library(frame)), False)


def describe_harness_error(error: BaseException) -> str:
    """Describe an exception of the harness: its type and message, then the last frames of its traceback."""
    if isinstance(error, EngineCrashedError | EngineError) and error.__cause__ is not None:
        return describe_harness_error(error.__cause__)
    name, message = type(error).__name__, str(error)
    sentence = f"{name}: {message}" if message else name
    if isinstance(error, PrivateApiChangedError):
        sentence = f"the harness does not fit this version of the engine: {sentence}"
    return sentence if isinstance(error, HookError) else "\n".join([sentence, *_format_frames(error)])


def _format_frames(error: BaseException) -> Iterator[str]:
    for frame in traceback.extract_tb(error.__traceback__)[-_MAX_FRAMES:]:
        yield f"  {_shorten_path(frame.filename)}, line {frame.lineno}, in {frame.name}"
        if frame.line:
            yield f"    {frame.line}"


def _shorten_path(filename: str) -> str:
    """Return a path without the location of the installation."""
    path = Path(filename).resolve()
    if path.is_relative_to(_PACKAGE):
        return path.relative_to(_PACKAGE.parent).as_posix()
    _, separator, inside = path.as_posix().rpartition("site-packages/")
    return inside if separator else path.name


def _frames_inside_out(error: BaseException) -> Iterator[FrameType]:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    yield from reversed(frames)


def _is_own(frame: FrameType) -> bool:
    # Not by __name__, which is __main__ in the worker.
    return Path(frame.f_code.co_filename).resolve().is_relative_to(_PACKAGE)


def _is_library(frame: FrameType) -> bool:
    if _is_own(frame):
        return False
    module: str = frame.f_globals.get("__name__", "")
    return module.partition(".")[0] in _CALLED_LIBRARIES
