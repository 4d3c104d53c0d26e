"""Captures many cases through one engine, in a new child wherever one died."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.backends import backend_class
from harness.backends.base import Dtype, Settings
from harness.capture.device_lock import device_lock
from harness.capture.environment import environment
from harness.capture.process import ProcessDied, engine_process
from harness.capture.protocol import Ask, Open
from harness.case import Case
from harness.models.checkpoint import Checkpoint
from harness.trace import Outcome, Trace, read_trace


@dataclass(frozen=True)
class Job:
    """What is to be captured, with which engine, and where it is to be written."""

    backend: str
    checkpoint: Checkpoint
    settings: Settings
    cases: tuple[Case, ...]
    folders: Mapping[str, Path]
    """Where each case's trace goes, by name."""
    log: Path
    continuations: Mapping[str, tuple[int, ...]] | None
    """The tokens along which ``decode`` goes, by case; None where the backend is the reference and
    chooses them."""
    floor: Dtype | None = None
    """The dtype whose noise floor the reference measures beside each trace."""
    captured: frozenset[str] = frozenset()
    """The cases whose traces are there, and want a floor only."""
    load_timeout: float = 900.0
    """Seconds."""
    case_timeout: float = 300.0
    """Seconds."""


Captured = Callable[[Case, Trace], None]
Loaded = Callable[[float], None]


def capture(job: Job, captured: Captured, loaded: Loaded) -> None:
    """Captures every case of the job.

    Args:
        job: what to do.
        captured: called for every case as soon as its trace is written, whatever its outcome.
        loaded: called with the seconds that a load took, for every child that was needed.
    """
    pending = list(job.cases)
    while pending:
        before = len(pending)
        _through_one_child(job, pending, captured, loaded)
        if len(pending) == before:
            raise RuntimeError(f"{job.backend}: a child ended without a result for any case")


def _through_one_child(job: Job, pending: list[Case], captured: Captured, loaded: Loaded) -> None:
    """Takes cases off the list until it is empty or the child is gone."""
    opened = False
    try:
        with device_lock(job.settings.device), engine_process(job.log) as process:
            reply = process.open(Open.of(job.backend, job.checkpoint, job.settings), job.load_timeout)
            opened = True
            loaded(reply.seconds)
            if reply.outcome is not Outcome.CAPTURED:
                _give_up(job, pending, len(pending), reply.outcome, reply.message, captured)
            while pending:
                reply = process.ask(_ask(job, pending[0]), job.case_timeout)
                case = pending.pop(0)
                trace = read_trace(job.folders[case.name])
                if reply.outcome is Outcome.CRASH:
                    trace = trace.model_copy(update={"message": trace.message + process.last_words()})
                    trace.write(job.folders[case.name])
                captured(case, trace)
                if reply.outcome is Outcome.CRASH:
                    return
    except ProcessDied as death:
        if opened:
            _give_up(job, pending, 1, Outcome.CRASH, str(death), captured)
        else:
            _give_up(job, pending, len(pending), Outcome.CRASH, f"while loading: {death}", captured)


def _ask(job: Job, case: Case) -> Ask:
    return Ask(
        case=case,
        case_folder=case.folder,
        folder=job.folders[case.name],
        leads=job.continuations is None,
        floor=job.floor,
        captured=case.name in job.captured,
        continuation=job.continuations.get(case.name) if job.continuations is not None else None,
    )


def _give_up(
    job: Job, pending: list[Case], count: int, outcome: Outcome, message: str, captured: Captured
) -> None:
    """Takes ``count`` cases off the list: each gets a trace that says why there is nothing in it."""
    for case in pending[:count]:
        trace = Trace(
            case=case.name,
            case_digest=case.digest(),
            model=job.checkpoint.name,
            backend=job.backend,
            variant=job.settings.variant,
            depth=job.settings.depth,
            environment=environment(backend_class(job.backend), job.settings),
            outcome=outcome,
            message=message,
        )
        trace.write(job.folders[case.name])
        captured(case, trace)
    del pending[:count]
