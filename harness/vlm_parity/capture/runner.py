"""Captures many traces with one engine, starting a new child after each crash."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from vlm_parity.backends.base import Settings
from vlm_parity.capture.device_lock import acquire_device_lock
from vlm_parity.capture.failure import Failure, build_failed_trace, read_captured
from vlm_parity.capture.process import EngineProcess, start_engine_process
from vlm_parity.capture.protocol import CaptureRequest, LoadRequest
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.engine_setup import Dtype, EntryPoint
from vlm_parity.schema.repetition import Attempt, is_infrastructure_failure
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
    repetition: int = 0
    """Number of the pass that repeats the first one, from 2; 0 if this is none."""
    attempts: tuple[Attempt, ...] = ()
    """Attempts at this task that failed."""

    @property
    def is_extra_pass(self) -> bool:
        """True if the case has been captured before."""
        return self.condition is not None or self.modules is not None or self.repetition > 0

    @property
    def description(self) -> str:
        """Description of the extra pass: ``while its modules were recorded``."""
        if self.condition is not None:
            return f"on {self.condition.description}"
        return "while its modules were recorded" if self.modules is not None else "in a repeated pass"


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
RetryCallback = Callable[[CaptureTask, Trace], None]


def run_capture(
    job: CaptureJob,
    on_captured: CapturedCallback,
    on_loaded: LoadedCallback,
    clock: PhaseClock,
    on_retry: RetryCallback | None = None,
) -> None:
    """Capture every task of the job.

    Args:
        job: the engine and its tasks.
        on_captured: called for every task as soon as its trace is written, whatever its outcome. The task
            that it returns is captured after all others, for it may crash the engine.
        on_loaded: called with the seconds of each load, one for every child that was needed.
        clock: gets the time of the phases ``load``, ``capture`` and ``floor`` as the child has measured it,
            and in ``process`` the rest: its start and end, and the messages.
        on_retry: called with each task that failed, if the machine may be the reason. It is run again once,
            in a new child, after all others, and ``on_captured`` is called with the result of that. None:
            nothing is run again.
    """
    _Capture(job, on_captured, on_loaded, clock, on_retry).run()


class _Capture:
    """A running job: the tasks that are left, and those that are to be run again."""

    def __init__(
        self,
        job: CaptureJob,
        on_captured: CapturedCallback,
        on_loaded: LoadedCallback,
        clock: PhaseClock,
        on_retry: RetryCallback | None,
    ) -> None:
        self._job, self._clock = job, clock
        self._on_captured, self._on_loaded, self._on_retry = on_captured, on_loaded, on_retry
        self._pending = list(job.tasks)
        self._failed: list[CaptureTask] = []

    def run(self) -> None:
        """Start children until no task is left."""
        while self._pending or self._failed:
            if not self._pending:
                self._pending, self._failed = self._failed, []
            first = self._pending[0]
            with self._clock.measure(f"{self._job.account}/process"):
                self._run_child()
            if self._pending and self._pending[0] is first:
                raise RuntimeError(f"{self._job.backend}: a child ended without a result for any task")

    def _run_child(self) -> None:
        """Remove tasks from the list as they are captured, until it is empty or the child has ended."""
        job, is_loaded = self._job, False
        try:
            with (
                acquire_device_lock(job.settings.device),
                start_engine_process(job.log, job.environment_variables) as process,
            ):
                response = process.load(
                    LoadRequest.of(job.backend, job.checkpoint, job.settings, job.entry_point),
                    job.load_timeout,
                )
                is_loaded = True
                self._clock.move(f"{job.account}/load", response.seconds)
                self._on_loaded(response.seconds)
                if response.outcome is not Outcome.CAPTURED:
                    self._skip_tasks(len(self._pending), response.outcome, response.message)
                while self._pending:
                    if self._capture_next(process):
                        return
        except WorkerDiedError as error:
            if is_loaded:
                task = self._pending[0]
                self._skip_tasks(1, Outcome.CRASH, str(error))
                self._skip_extra_passes(task)
            else:
                self._skip_tasks(len(self._pending), Outcome.CRASH, f"while loading: {error}")

    def _capture_next(self, process: EngineProcess) -> bool:
        """Capture the first task of the list; return whether the child has ended with it.

        Raises:
            WorkerDiedError: the child crashed or did not respond in time.
        """
        job, task = self._job, self._pending[0]
        response = process.capture(_build_request(job, task), job.case_timeout)
        self._pending.pop(0)
        if job.floor is not None:
            self._clock.move(f"{job.account}/floor", response.floor_seconds)
        self._clock.move(f"{job.account}/capture", response.seconds - response.floor_seconds)
        trace = read_captured(task.folder, response, partial(_build_failed_trace, job, task))
        if response.outcome is Outcome.CRASH:
            trace = trace.model_copy(update={"message": trace.message + process.read_output_tail()})
            trace.write(task.folder)
        self._report(task, trace)
        if response.is_last:
            self._skip_extra_passes(task)
        return response.is_last

    def _skip_tasks(self, count: int, outcome: Outcome, message: str) -> None:
        """Remove ``count`` tasks from the list; each gets an empty trace with the reason."""
        skipped, self._pending = self._pending[:count], self._pending[count:]
        for task in skipped:
            trace = _build_failed_trace(self._job, task, Failure(outcome, message))
            trace.write(task.folder)
            self._report(task, trace)

    def _skip_extra_passes(self, crashed: CaptureTask) -> None:
        """Skip what is left if the engine crashed in an extra pass: no case is worth one load each."""
        if not crashed.is_extra_pass:
            return
        reason = f"the engine crashed {crashed.description} in {crashed.case.name}"
        while self._pending:  # a skipped task may be followed by another
            self._skip_tasks(len(self._pending), Outcome.UNSUPPORTED, reason)

    def _report(self, task: CaptureTask, trace: Trace) -> None:
        is_first = not task.attempts and not task.is_extra_pass
        if self._on_retry and is_first and is_infrastructure_failure(trace.outcome, trace.message):
            attempt = Attempt(outcome=trace.outcome, message=trace.message)
            self._failed.append(replace(task, attempts=(attempt,)))
            self._on_retry(task, trace)
            return
        following = self._on_captured(task, trace)
        if following is not None:
            # Recordings come last: none may cost another case a comparison.
            recordings = sum(each.modules is not None for each in self._pending)
            end = len(self._pending) - (recordings if following.modules is None else 0)
            self._pending.insert(end, following)


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


def _build_failed_trace(job: CaptureJob, task: CaptureTask, failure: Failure) -> Trace:
    trace = build_failed_trace(
        job.backend, job.checkpoint.name, job.settings, task.case, failure, task.entry_point
    )
    return trace.model_copy(update={"condition": task.condition})
