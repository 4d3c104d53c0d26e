"""Captures many traces through one engine, in a new child wherever one died."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vlm_parity.backends.base import Dtype, Settings
from vlm_parity.backends.registry import load_backend_class
from vlm_parity.capture.device_lock import acquire_device_lock
from vlm_parity.capture.environment import describe_environment
from vlm_parity.capture.process import start_engine_process
from vlm_parity.capture.protocol import CaptureRequest, LoadRequest
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case
from vlm_parity.schema.engine_setup import EntryPoint
from vlm_parity.schema.trace import Outcome, Trace, read_trace
from vlm_parity.util.errors import WorkerDiedError


@dataclass(frozen=True)
class CaptureTask:
    """One trace that is to be captured, and where it is to be written."""

    case: Case
    folder: Path
    entry_point: EntryPoint = EntryPoint.CHAT
    """See ``vlm_parity.backends.base.Request``."""
    continuation: tuple[int, ...] | None = None
    """The tokens along which ``decode`` goes; None where there are none to follow."""
    largest: bool = False
    """See ``vlm_parity.capture.protocol.Ask``."""
    captured: bool = False
    """Whether the trace is there, and wants a floor only."""


@dataclass(frozen=True)
class CaptureJob:
    """What is to be captured with one engine, in this order."""

    backend: str
    checkpoint: Checkpoint
    settings: Settings
    tasks: tuple[CaptureTask, ...]
    log: Path
    entry_point: EntryPoint = EntryPoint.CHAT
    """``server`` if a server stands before the engine; the tasks' own entry points share an engine otherwise."""
    is_reference: bool = False
    """Whether the backend is the reference, which chooses the continuations."""
    floor: Dtype | None = None
    """The dtype whose noise floor the reference measures beside each trace."""
    load_timeout: float = 900.0
    """Seconds."""
    case_timeout: float = 300.0
    """Seconds."""


CapturedCallback = Callable[[CaptureTask, Trace], None]
LoadedCallback = Callable[[float], None]


def run_capture(job: CaptureJob, captured: CapturedCallback, loaded: LoadedCallback) -> None:
    """Carries out every task of the job.

    Args:
        job: what to do.
        captured: called for every task as soon as its trace is written, whatever its outcome.
        loaded: called with the seconds that a load took, for every child that was needed.
    """
    pending = list(job.tasks)
    while pending:
        before = len(pending)
        _run_child(job, pending, captured, loaded)
        if len(pending) == before:
            raise RuntimeError(f"{job.backend}: a child ended without a result for any task")


def _run_child(
    job: CaptureJob, pending: list[CaptureTask], captured: CapturedCallback, loaded: LoadedCallback
) -> None:
    """Takes tasks off the list until it is empty or the child is gone."""
    opened = False
    try:
        with acquire_device_lock(job.settings.device), start_engine_process(job.log) as process:
            reply = process.open(LoadRequest.of(job.backend, job.checkpoint, job.settings), job.load_timeout)
            opened = True
            loaded(reply.seconds)
            if reply.outcome is not Outcome.CAPTURED:
                _skip_tasks(job, pending, len(pending), reply.outcome, reply.message, captured)
            while pending:
                reply = process.ask(_build_request(job, pending[0]), job.case_timeout)
                task = pending.pop(0)
                trace = read_trace(task.folder)
                if reply.outcome is Outcome.CRASH:
                    trace = trace.model_copy(update={"message": trace.message + process.read_output_tail()})
                    trace.write(task.folder)
                captured(task, trace)
                if reply.outcome is Outcome.CRASH:
                    return
    except WorkerDiedError as death:
        if opened:
            _skip_tasks(job, pending, 1, Outcome.CRASH, str(death), captured)
        else:
            _skip_tasks(job, pending, len(pending), Outcome.CRASH, f"while loading: {death}", captured)


def _build_request(job: CaptureJob, task: CaptureTask) -> CaptureRequest:
    return CaptureRequest(
        case=task.case,
        case_folder=task.case.folder,
        folder=task.folder,
        entry_point=task.entry_point,
        is_reference=job.is_reference,
        largest=task.largest,
        floor=job.floor,
        captured=task.captured,
        continuation=task.continuation,
    )


def _skip_tasks(
    job: CaptureJob,
    pending: list[CaptureTask],
    count: int,
    outcome: Outcome,
    message: str,
    captured: CapturedCallback,
) -> None:
    """Takes ``count`` tasks off the list: each gets a trace that says why there is nothing in it."""
    for task in pending[:count]:
        trace = Trace(
            case=task.case.name,
            case_digest=task.case.digest(),
            model=job.checkpoint.name,
            backend=job.backend,
            mode=job.settings.mode,
            entry_point=task.entry_point,
            depth=job.settings.depth,
            environment=describe_environment(load_backend_class(job.backend), job.settings),
            outcome=outcome,
            message=message,
        )
        trace.write(task.folder)
        captured(task, trace)
    del pending[:count]
