"""Engine runs of a session: one engine load captures all of its selected cases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from vlm_parity.capture.runner import CaptureJob, CaptureTask, run_capture
from vlm_parity.capture.stored_trace import StoredTrace
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.repetition import Attempt
from vlm_parity.schema.run_layout import (
    get_conditioned_folder,
    get_recording_folder,
    get_repetition_folder,
)
from vlm_parity.schema.trace import Trace
from vlm_parity.session.plan import EngineLoad, Plan
from vlm_parity.session.progress import ProgressReporter
from vlm_parity.session.shard_writer import ShardWriter

_MIN_LENGTH = 4096  # tokens; engines need some for their own warm-up
_LENGTH_MULTIPLE = 1024

Selected = tuple[tuple[EngineLoad, str], ...]
"""Engine loads that share one engine, each with the name of a case."""


@dataclass(frozen=True)
class ExtraPass:
    """One more pass of an engine over a case."""

    condition: Condition | None
    """Values of the reference that the engine is given; None if it runs on its own."""
    records_modules: bool = False
    repetition: int = 0
    """Number of the pass that repeats the first one, from 2; 0 if this is none."""
    front_end_only: bool = False
    """True if a repeated pass ends in front of the engine."""


OnCaptured = Callable[[EngineLoad, StoredTrace, ExtraPass | None], tuple[str, ExtraPass | None]]
"""Called with each trace as it comes, and the extra pass that made it, if one did; returns the words for the
progress line, and the next extra pass over the case."""


class EngineRunner:
    """Loads engines, one at a time, and captures the traces under test."""

    def __init__(
        self, plan: Plan, cases: Mapping[str, Case], shard: ShardWriter, reporter: ProgressReporter
    ) -> None:
        self._plan, self._cases, self._shard, self._reporter = plan, cases, shard, reporter

    def run(
        self,
        checkpoint: Checkpoint,
        engine: EngineLoad,
        selected: Selected,
        references: Mapping[str, StoredTrace],
        on_captured: OnCaptured,
    ) -> None:
        """Load an engine once and capture every selected case.

        Args:
            checkpoint: the model.
            engine: the load that the selected ones share.
            selected: pairs of an engine load and the name of a case to capture.
            references: traces of the reference by case; those about max-size media have none yet.
            on_captured: called with the load and the trace of each case.
        """
        job = self._build_job(checkpoint, engine, selected, references)
        name = f"{checkpoint.name} {engine.label}"
        with self._reporter.track_capture(name, len(job.tasks)) as progress:

            def report_captured(task: CaptureTask, trace: Trace) -> CaptureTask | None:
                load = replace(engine, entry_point=trace.entry_point)
                done = (
                    ExtraPass(task.condition, task.modules is not None, task.repetition)
                    if task.is_extra_pass
                    else None
                )
                tested = StoredTrace(trace, task.folder, task.attempts)
                outcome, following = on_captured(load, tested, done)
                progress.report_result(_describe_task(task, engine), outcome)
                if following is None:
                    return None
                progress.add_case()
                return self._build_extra_task(task, load, following, references[task.case.name])

            def report_retry(task: CaptureTask, trace: Trace) -> None:
                failure = Attempt(outcome=trace.outcome, message=trace.message).description
                progress.report_result(_describe_task(task, engine), f"{failure}; to be run again")
                progress.add_case()

            run_capture(
                job,
                report_captured,
                progress.report_load,
                self._shard.clock,
                report_retry if self._plan.retries else None,
            )

    def _build_job(
        self,
        checkpoint: Checkpoint,
        engine: EngineLoad,
        selected: Selected,
        references: Mapping[str, StoredTrace],
    ) -> CaptureJob:
        with_reference = {
            name: self._cases[name] for _, name in selected if self._cases[name].max_size_modality is None
        }
        settings = replace(
            self._plan.build_settings(checkpoint),
            max_length=_compute_max_length(
                (references[name].trace, case) for name, case in with_reference.items()
            ),
            mode=engine.mode,
            engine_args=self._plan.build_engine_args(checkpoint, engine.backend),
        )
        # Max-size media come last, because they may crash the engine.
        ordered = sorted(selected, key=lambda item: item[1] not in with_reference)
        return CaptureJob(
            backend=engine.backend,
            entry_point=engine.entry_point,
            checkpoint=checkpoint,
            settings=settings,
            tasks=tuple(self._build_task(checkpoint, load, name, references) for load, name in ordered),
            log=self._shard.get_log_path(checkpoint.name, engine.label),
            account=f"{checkpoint.name}/{engine.label}",
            environment_variables=self._plan.get_environment_variables(checkpoint),
            load_timeout=self._plan.load_timeout,
            case_timeout=self._plan.case_timeout,
        )

    def _build_extra_task(
        self, task: CaptureTask, load: EngineLoad, following: ExtraPass, reference: StoredTrace
    ) -> CaptureTask:
        """Return the task to capture a case once more: again, on given values, or with its modules."""
        condition = following.condition
        if following.records_modules:
            label = get_recording_folder(load.label, condition)
        elif condition is not None:
            label = get_conditioned_folder(load.label, condition)
        else:
            label = get_repetition_folder(load.label, following.repetition)
        folder = self._shard.get_trace_folder(reference.trace.model, label, task.case.name)
        return replace(
            task,
            folder=folder,
            continuation=None if following.front_end_only else reference.trace.continuation or None,
            repetition=following.repetition,
            condition=condition,
            reference_folder=reference.folder if condition is not None else None,
            modules=folder if following.records_modules else None,
            modules_within=self._plan.locate_within[1],
        )

    def _build_task(
        self, checkpoint: Checkpoint, load: EngineLoad, name: str, references: Mapping[str, StoredTrace]
    ) -> CaptureTask:
        case = self._cases[name]
        has_reference = case.max_size_modality is None
        return CaptureTask(
            case,
            self._shard.get_trace_folder(checkpoint.name, load.label, name),
            entry_point=load.entry_point,
            uses_max_media=not has_reference,
            continuation=references[name].trace.continuation or None if has_reference else None,
        )


def _describe_task(task: CaptureTask, engine: EngineLoad) -> str:
    is_shared = task.entry_point is not engine.entry_point
    case = f"{task.case.name} by {task.entry_point}" if is_shared else task.case.name
    if task.condition is not None:
        case = f"{case} on {task.condition.description}"
    if task.attempts and not task.is_extra_pass:
        case = f"{case}, attempt {len(task.attempts) + 1}"
    if task.repetition:
        case = f"{case}, pass {task.repetition}"
    return f"{case}, modules" if task.modules is not None else case


def _compute_max_length(references: Iterable[tuple[Trace, Case]]) -> int:
    """Return the longest sequence that the cases need, in tokens, rounded up."""
    longest = max((len(trace.input_ids or ()) + case.max_new_tokens for trace, case in references), default=0)
    return max(_MIN_LENGTH, -(-longest // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE)
