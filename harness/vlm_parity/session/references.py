"""The reference's traces: from the cache where they are, captured where they are not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from vlm_parity.backends.base import Dtype, Settings
from vlm_parity.backends.registry import REFERENCE_BACKEND, load_backend_class
from vlm_parity.capture.environment import describe_environment
from vlm_parity.capture.reference_cache import ReferenceCache, is_cacheable
from vlm_parity.capture.runner import CaptureJob, CaptureTask, run_capture
from vlm_parity.capture.stored_trace import StoredTrace
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case
from vlm_parity.schema.engine_setup import DEFAULT_MODE
from vlm_parity.schema.noise_floor import read_noise_floor
from vlm_parity.schema.trace import Depth, Outcome, Trace
from vlm_parity.session.plan import Plan
from vlm_parity.session.progress import ProgressReporter
from vlm_parity.session.saved_traces import load_saved_reference
from vlm_parity.session.shard_writer import ShardWriter


def select_truth_dtype(checkpoint: Checkpoint) -> Dtype:
    """What the reference computes in if nothing else is asked for: twice the precision of any engine
    where the model is small enough.
    """
    return "float64" if checkpoint.source == "synthetic" else "float32"


class ReferenceProvider:
    """The reference's traces of a session, each captured at most once."""

    def __init__(self, plan: Plan, shard: ShardWriter, reporter: ProgressReporter) -> None:
        self._plan, self._part, self._reporter = plan, shard, reporter
        self._known: dict[str, dict[str, StoredTrace]] = defaultdict(dict)

    def of(
        self, checkpoint: Checkpoint, cases: Iterable[Case], *, largest: bool = False
    ) -> dict[str, StoredTrace]:
        """The traces of these cases, by name, at ``logits`` depth each with the noise floor beside it.

        Args:
            checkpoint: the model.
            cases: what is asked.
            largest: whether they hold the largest media of an engine, which has named them. They go no
                deeper than ``tokens``, and then the reference needs no weights.
        """
        dtype = self._plan.reference_dtype or select_truth_dtype(checkpoint)
        tested = self._plan.settings_of(checkpoint)
        tested = replace(tested, depth=Depth.TOKENS) if largest else tested
        floor = tested.dtype if tested.depth is Depth.LOGITS else None
        settings = replace(tested, dtype=dtype, engine_args={}, mode=DEFAULT_MODE)
        cache = ReferenceCache(checkpoint, settings)
        known = self._known[checkpoint.name]
        if self._plan.reference_traces is not None:
            known |= {
                case.name: load_saved_reference(self._plan.reference_traces, checkpoint.name, case)
                for case in cases
            }
            return known
        asked = tuple(case for case in cases if not _has_trace(known.get(case.name), case))
        captured, found = set(), set()
        for case in asked:
            trace = cache.find(case)
            if trace is not None and _has_floor(trace, cache.folder(case), floor):
                known[case.name] = StoredTrace(trace, cache.folder(case))
                found.add(case.name)
            elif trace is not None:
                captured.add(case.name)
        missing = tuple(case for case in asked if case.name not in found)
        self._report_cached(checkpoint, len(asked), len(missing))
        if missing:
            tasks = tuple(
                _build_task(cache, case, captured=case.name in captured, largest=largest) for case in missing
            )
            self._capture(checkpoint, settings, cache, tasks, known, floor)
        return known

    def build_skipped(self, checkpoint: Checkpoint, case: Case) -> StoredTrace:
        """What stands for the reference where the engine names no largest medium: nothing could be asked."""
        settings = replace(self._plan.settings_of(checkpoint), depth=Depth.TOKENS, mode=DEFAULT_MODE)
        trace = Trace(
            case=case.name,
            case_digest=case.digest(),
            model=checkpoint.name,
            backend=REFERENCE_BACKEND,
            depth=settings.depth,
            environment=describe_environment(load_backend_class(REFERENCE_BACKEND), settings),
            outcome=Outcome.UNSUPPORTED,
            message=f"not asked: which {case.largest} is the largest, only the engine can say",
        )
        return StoredTrace(trace, ReferenceCache(checkpoint, settings).folder(case))

    def _report_cached(self, checkpoint: Checkpoint, asked: int, missing: int) -> None:
        if asked > missing:
            self._reporter.report(
                f"[{checkpoint.name} reference] {asked - missing} of {asked} traces from the cache"
            )

    def _capture(
        self,
        checkpoint: Checkpoint,
        settings: Settings,
        cache: ReferenceCache,
        tasks: tuple[CaptureTask, ...],
        known: dict[str, StoredTrace],
        floor: Dtype | None,
    ) -> None:
        job = CaptureJob(
            backend=REFERENCE_BACKEND,
            checkpoint=checkpoint,
            settings=settings,
            tasks=tasks,
            log=self._part.log(checkpoint.name, "reference"),
            is_reference=True,
            floor=floor,
            load_timeout=self._plan.load_timeout,
            case_timeout=self._plan.case_timeout,
        )
        name = f"{checkpoint.name}/reference"
        with self._reporter.track_capture(f"{checkpoint.name} reference", len(tasks)) as progress:

            def captured(task: CaptureTask, trace: Trace) -> None:
                case = task.case
                folder = cache.keep(case) if is_cacheable(trace) else cache.draft(case)
                known[case.name] = StoredTrace(trace, folder)
                self._part.add_seconds(f"{name}/capture", sum(trace.seconds.values()))
                progress.report_result(case.name, trace.outcome)

            def loaded(seconds: float) -> None:
                self._part.add_seconds(f"{name}/load", seconds)
                progress.report_load(seconds)

            run_capture(job, captured, loaded)


def _has_trace(known: StoredTrace | None, case: Case) -> bool:
    """Whether a trace is known that is of this very case, for each engine has a largest medium of its own,
    and that the cache did not throw away to stay within its limit.
    """
    return known is not None and known.trace.case_digest == case.digest() and known.folder.is_dir()


def _build_task(cache: ReferenceCache, case: Case, *, captured: bool, largest: bool) -> CaptureTask:
    folder = cache.borrow(case) if captured else cache.draft(case)
    return CaptureTask(case, folder, captured=captured, largest=largest)


def _has_floor(trace: Trace, folder: Path, wanted: Dtype | None) -> bool:
    """Whether a cached trace is all that is wanted; a floor that could not be measured is tried again."""
    if wanted is None or trace.outcome is not Outcome.CAPTURED or trace.depth is Depth.TOKENS:
        return True
    floor = read_noise_floor(folder, wanted)
    return floor is not None and not floor.record.problem
