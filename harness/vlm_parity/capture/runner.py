"""Captures many traces with one engine, starting a new child after each crash."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from vlm_parity.backends.base import Settings
from vlm_parity.capture.device_lock import acquire_device_lock
from vlm_parity.capture.failure import Failure, build_failed_trace, read_captured
from vlm_parity.capture.process import start_engine_process
from vlm_parity.capture.protocol import CaptureRequest, LoadRequest
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.engine_setup import Dtype, EntryPoint
from vlm_parity.schema.trace import Outcome, Trace
from vlm_parity.util.errors import WorkerDiedError
from vlm_parity.util.phase_clock import PhaseClock


@dataclass(frozen=True)
class CaptureTask:
    """One trace to capture, and its folder."""

    case: Case
    folder: Path
    entry_point: EntryPoint = EntryPoint.CHAT
    """See ``vlm_parity.backends.base.Request``."""
    continuation: tuple[int, ...] | None = None
    """The tokens fed back during decoding; None if there are none to follow."""
    uses_max_media: bool = False
    """See ``vlm_parity.capture.protocol.CaptureRequest``."""
    floor_only: bool = False
    """True if the trace exists and only its noise floor is missing."""
    condition: Condition | None = None
    """See ``vlm_parity.capture.protocol.CaptureRequest``."""
    reference_folder: Path | None = None
    """Likewise."""
    modules: Path | None = None
    """Likewise."""
    modules_within: str = ""
    """Likewise."""

    @property
    def is_extra_pass(self) -> bool:
        """True if the case has been captured before, on the engine's own values and without recording."""
        return self.condition is not None or self.modules is not None


@dataclass(frozen=True)
class CaptureJob:
    """The traces to capture with one engine, in this order."""

    backend: str
    checkpoint: Checkpoint
    settings: Settings
    tasks: tuple[CaptureTask, ...]
    log: Path
    account: str
    """The prefix of the phases in which this engine spends time."""
    entry_point: EntryPoint = EntryPoint.CHAT
    """``server`` if the engine runs behind its server; all other entry points share one engine."""
    is_reference: bool = False
    """True for the reference, which chooses the continuations."""
    floor: Dtype | None = None
    """The dtype whose noise floor the reference measures for each trace."""
    environment_variables: Mapping[str, str] = field(default_factory=dict)
    """Variables of the child that apply unless this process has set them."""
    load_timeout: float = 900.0
    """Seconds."""
    case_timeout: float = 300.0
    """Seconds."""


CapturedCallback = Callable[[CaptureTask, Trace], CaptureTask | None]
"""Called with each trace; may return one more task, which comes last."""
LoadedCallback = Callable[[float], None]


def run_capture(
    job: CaptureJob, on_captured: CapturedCallback, on_loaded: LoadedCallback, clock: PhaseClock
) -> None:
    """Capture every task of the job.

    Args:
        job: the engine and its tasks.
        on_captured: called for every task as soon as its trace is written, whatever its outcome. The task
            that it returns is captured after all others, for it may crash the engine.
        on_loaded: called with the seconds of each load, one for every child that was needed.
        clock: gets the time of the phases ``load``, ``capture`` and ``floor`` as the child has measured it,
            and in ``process`` the rest: its start and end, and the messages.
    """
    pending = list(job.tasks)
    while pending:
        first = pending[0]
        with clock.measure(f"{job.account}/process"):
            _run_child(job, pending, on_captured, on_loaded, clock)
        if pending and pending[0] is first:
            raise RuntimeError(f"{job.backend}: a child ended without a result for any task")


def _run_child(
    job: CaptureJob,
    pending: list[CaptureTask],
    on_captured: CapturedCallback,
    on_loaded: LoadedCallback,
    clock: PhaseClock,
) -> None:
    """Remove tasks from the list as they are captured, until it is empty or the child has ended."""
    is_loaded = False
    try:
        with (
            acquire_device_lock(job.settings.device),
            start_engine_process(job.log, job.environment_variables) as process,
        ):
            response = process.load(
                LoadRequest.of(job.backend, job.checkpoint, job.settings, job.entry_point), job.load_timeout
            )
            is_loaded = True
            clock.move(f"{job.account}/load", response.seconds)
            on_loaded(response.seconds)
            if response.outcome is not Outcome.CAPTURED:
                _skip_tasks(job, pending, len(pending), response.outcome, response.message, on_captured)
            while pending:
                response = process.capture(_build_request(job, pending[0]), job.case_timeout)
                task = pending.pop(0)
                if job.floor is not None:
                    clock.move(f"{job.account}/floor", response.floor_seconds)
                clock.move(f"{job.account}/capture", response.seconds - response.floor_seconds)
                trace = read_captured(task.folder, response, partial(_build_failed_trace, job, task))
                if response.outcome is Outcome.CRASH:
                    trace = trace.model_copy(update={"message": trace.message + process.read_output_tail()})
                    trace.write(task.folder)
                _report(task, trace, pending, on_captured)
                if response.is_last:
                    _skip_extra_passes(job, task, pending, on_captured)
                    return
    except WorkerDiedError as error:
        if is_loaded:
            task = pending[0]
            _skip_tasks(job, pending, 1, Outcome.CRASH, str(error), on_captured)
            _skip_extra_passes(job, task, pending, on_captured)
        else:
            _skip_tasks(job, pending, len(pending), Outcome.CRASH, f"while loading: {error}", on_captured)


def _build_request(job: CaptureJob, task: CaptureTask) -> CaptureRequest:
    return CaptureRequest(
        case=task.case,
        case_folder=task.case.folder,
        media_roots=task.case.media_roots,
        folder=task.folder,
        entry_point=task.entry_point,
        is_reference=job.is_reference,
        uses_max_media=task.uses_max_media,
        floor=job.floor,
        floor_only=task.floor_only,
        condition=task.condition,
        reference_folder=task.reference_folder,
        modules=task.modules,
        modules_within=task.modules_within,
        continuation=task.continuation,
    )


def _skip_tasks(
    job: CaptureJob,
    pending: list[CaptureTask],
    count: int,
    outcome: Outcome,
    message: str,
    on_captured: CapturedCallback,
) -> None:
    """Remove ``count`` tasks from the list; each gets an empty trace with the reason."""
    skipped, pending[:] = pending[:count], pending[count:]
    for task in skipped:
        trace = _build_failed_trace(job, task, Failure(outcome, message))
        trace.write(task.folder)
        _report(task, trace, pending, on_captured)


def _skip_extra_passes(
    job: CaptureJob, crashed: CaptureTask, pending: list[CaptureTask], on_captured: CapturedCallback
) -> None:
    """Skip what is left if the engine crashed in an extra pass: no case is worth one load each."""
    if not crashed.is_extra_pass:
        return
    situation = "while its modules were recorded" if crashed.modules is not None else ""
    if crashed.condition is not None:
        situation = f"on {crashed.condition.description}"
    reason = f"the engine crashed {situation} in {crashed.case.name}"
    while pending:  # a skipped task may be followed by another
        _skip_tasks(job, pending, len(pending), Outcome.UNSUPPORTED, reason, on_captured)


def _report(
    task: CaptureTask, trace: Trace, pending: list[CaptureTask], on_captured: CapturedCallback
) -> None:
    following = on_captured(task, trace)
    if following is None:
        return
    if following.modules is not None:
        pending.append(following)
        return
    # Recordings come last: none may cost another case a comparison.
    recordings = sum(task.modules is not None for task in pending)
    pending.insert(len(pending) - recordings, following)


def _build_failed_trace(job: CaptureJob, task: CaptureTask, failure: Failure) -> Trace:
    trace = build_failed_trace(
        job.backend, job.checkpoint.name, job.settings, task.case, failure, task.entry_point
    )
    return trace.model_copy(update={"condition": task.condition})
