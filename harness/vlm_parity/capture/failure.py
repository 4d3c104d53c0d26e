"""Failed captures: the outcome that an exception amounts to, and the trace that states it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vlm_parity.backends.base import Settings
from vlm_parity.backends.registry import load_backend_class
from vlm_parity.capture.environment import describe_environment
from vlm_parity.capture.protocol import Response
from vlm_parity.schema.case import Case
from vlm_parity.schema.engine_setup import EntryPoint
from vlm_parity.schema.trace import Outcome, Trace, read_trace
from vlm_parity.util.error_origin import describe_harness_error, is_harness_error
from vlm_parity.util.errors import (
    CheckpointChangedError,
    EngineCrashedError,
    MediaError,
    RecordError,
    UnsupportedError,
)


@dataclass(frozen=True)
class Failure:
    """The outcome of a capture that raised, with its message."""

    outcome: Outcome
    message: str


def classify_error(error: Exception, engine_failure: Outcome) -> Failure:
    """Return the outcome that an exception amounts to.

    Args:
        error: raised by the harness or by the engine that it called.
        engine_failure: the outcome of an exception of the engine that is of no special type.
    """
    if isinstance(error, MediaError | CheckpointChangedError):
        return Failure(Outcome.INVALID, str(error))
    if is_harness_error(error):
        return Failure(Outcome.HARNESS_ERROR, describe_harness_error(error))
    if isinstance(error, UnsupportedError):
        return Failure(Outcome.UNSUPPORTED, str(error))
    if isinstance(error, EngineCrashedError):
        return Failure(Outcome.CRASH, str(error))
    name, message = type(error).__name__, str(error)
    return Failure(engine_failure, f"{name}: {message}" if message else name)


def build_failed_trace(
    backend: str,
    model: str,
    settings: Settings,
    case: Case,
    failure: Failure,
    entry_point: EntryPoint = EntryPoint.CHAT,
) -> Trace:
    """Build a trace that holds nothing but the outcome.

    Args:
        backend: its name.
        model: name of the checkpoint.
        settings: of the backend.
        case: the case that was to be captured.
        failure: the outcome and its message.
        entry_point: the API that was to receive the case.
    """
    return Trace(
        case=case.name,
        case_digest=case.digest(),
        model=model,
        backend=backend,
        mode=settings.mode,
        entry_point=entry_point,
        depth=settings.depth,
        environment=describe_environment(load_backend_class(backend), settings),
        outcome=failure.outcome,
        message=failure.message,
    )


def read_captured(folder: Path, response: Response, failed: Callable[[Failure], Trace]) -> Trace:
    """Return the trace that a child has written, or one of its response alone if it could not write it.

    Args:
        folder: of the trace.
        response: of the child.
        failed: builds a trace that holds nothing but the outcome.
    """
    try:
        trace = read_trace(folder)
    except RecordError as error:
        message = response.message or f"the child has written no complete trace: {error}"
        return failed(Failure(Outcome.HARNESS_ERROR, message))
    if trace.outcome is response.outcome:
        return trace
    return failed(
        Failure(Outcome.HARNESS_ERROR, response.message or f"the child responded {response.outcome}")
    )
