"""Reference traces of a session: from the cache, or captured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from vlm_parity.backends.base import Settings
from vlm_parity.backends.installation import check_installed
from vlm_parity.backends.registry import REFERENCE_BACKEND
from vlm_parity.capture.cache_lease import LeaseHolder
from vlm_parity.capture.failure import Failure, build_failed_trace
from vlm_parity.capture.reference_cache import ReferenceCache, is_cacheable
from vlm_parity.capture.runner import CaptureJob, CaptureTask, run_capture
from vlm_parity.capture.stored_trace import StoredTrace
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case
from vlm_parity.schema.engine_setup import DEFAULT_MODE, Depth, Dtype
from vlm_parity.schema.trace import Outcome, Trace
from vlm_parity.session.plan import Plan
from vlm_parity.session.progress import ProgressReporter
from vlm_parity.session.saved_traces import load_saved_reference
from vlm_parity.session.shard_writer import ShardWriter
from vlm_parity.util.errors import DamagedFolderError


def select_truth_dtype(checkpoint: Checkpoint) -> Dtype:
    """Return the default dtype of the reference: twice the precision of any engine if the model is small."""
    return "float64" if checkpoint.source == "synthetic" else "float32"


def build_reference_settings(plan: Plan, checkpoint: Checkpoint) -> Settings:
    """Return the settings of the reference for a model."""
    return replace(
        plan.build_settings(checkpoint),
        dtype=plan.reference_dtype or select_truth_dtype(checkpoint),
        engine_args={},
        mode=DEFAULT_MODE,
    )


def check_reference_installed() -> None:
    """Check that the reference can be captured in this environment.

    Raises:
        EngineNotInstalledError: it is not installed.
    """
    check_installed([REFERENCE_BACKEND])


class ReferenceProvider:
    """Provides the reference traces of a session, each captured at most once."""

    def __init__(self, plan: Plan, shard: ShardWriter, reporter: ProgressReporter) -> None:
        self._plan, self._shard, self._reporter = plan, shard, reporter
        self._known: dict[str, dict[str, StoredTrace]] = defaultdict(dict)
        self._leases = LeaseHolder()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep all traces that were provided in the cache until the end of the block, and not longer."""
        try:
            yield
        finally:
            self._leases.release_all()

    def provide(
        self, checkpoint: Checkpoint, cases: Iterable[Case], *, uses_max_media: bool = False
    ) -> dict[str, StoredTrace]:
        """Return the reference traces by case name; at depth ``logits`` each has its noise floor next to it.

        They stay in the cache until the block of ``hold`` ends.

        Args:
            checkpoint: the model.
            cases: the cases that need a reference.
            uses_max_media: whether the cases hold the max-size media that an engine has named. They go no
                deeper than ``tokens``, so the reference needs no weights.

        Raises:
            MissingTraceError, RecordError: the shard of saved references lacks a trace.
        """
        known = self._known[checkpoint.name]
        if self._plan.reference_traces is not None:
            known |= {
                case.name: load_saved_reference(self._plan.reference_traces, checkpoint.name, case)
                for case in cases
            }
            return known
        settings = build_reference_settings(self._plan, checkpoint)
        if uses_max_media:
            settings = replace(settings, depth=Depth.TOKENS)
        floor = self._plan.build_settings(checkpoint).dtype if settings.depth is Depth.LOGITS else None
        cache = ReferenceCache(checkpoint, settings, self._leases)
        with self._measure_cache(checkpoint):
            tasks = self._find_missing(checkpoint, cache, cases, floor, uses_max_media=uses_max_media)
        if tasks:
            self._capture(checkpoint, settings, cache, tasks, known, floor)
        return known

    def _find_missing(
        self,
        checkpoint: Checkpoint,
        cache: ReferenceCache,
        cases: Iterable[Case],
        floor: Dtype | None,
        *,
        uses_max_media: bool,
    ) -> tuple[CaptureTask, ...]:
        """Add the cached traces to the known ones, and return tasks for the others."""
        known = self._known[checkpoint.name]
        needed = [case for case in cases if not self._has_trace(known.get(case.name), case)]
        tasks = []
        for case in needed:
            trace = self._find_trace(cache, checkpoint, case)
            if trace is not None and self._has_floor(cache, checkpoint, case, trace, floor):
                known[case.name] = StoredTrace(trace, cache.folder(case))
            else:
                has_trace = trace is not None
                folder = cache.create_linked_draft(case) if has_trace else cache.draft(case)
                tasks.append(CaptureTask(case, folder, floor_only=has_trace, uses_max_media=uses_max_media))
        self._report_cached(checkpoint, len(needed), len(tasks))
        return tuple(tasks)

    def _measure_cache(self, checkpoint: Checkpoint) -> AbstractContextManager[None]:
        return self._shard.clock.measure(f"{checkpoint.name}/reference/cache")

    def build_skipped(self, checkpoint: Checkpoint, case: Case) -> StoredTrace:
        """Return a reference without a trace, for an engine that names no max-size media."""
        settings = replace(self._plan.build_settings(checkpoint), depth=Depth.TOKENS, mode=DEFAULT_MODE)
        message = f"not run: only the engine determines its largest {case.max_size_modality}"
        trace = self.build_failed(checkpoint, case, Failure(Outcome.UNSUPPORTED, message), Depth.TOKENS)
        return StoredTrace(trace, ReferenceCache(checkpoint, settings, self._leases).folder(case))

    def build_failed(
        self, checkpoint: Checkpoint, case: Case, failure: Failure, depth: Depth | None = None
    ) -> Trace:
        """Return a reference trace that holds nothing but its outcome.

        Args:
            checkpoint: the model.
            case: the case.
            failure: the outcome and its message.
            depth: of the trace; None for that of the session.
        """
        settings = replace(self._plan.build_settings(checkpoint), mode=DEFAULT_MODE)
        settings = replace(settings, depth=depth or settings.depth)
        return build_failed_trace(REFERENCE_BACKEND, checkpoint.name, settings, case, failure)

    def _has_trace(self, known: StoredTrace | None, case: Case) -> bool:
        """Return whether a trace of this case is known and still in the cache, and keep it there.

        Its digest decides, because each engine names its own max-size media under one case name.
        """
        is_known = known is not None and known.trace.case_digest == case.digest()
        return is_known and known is not None and self._leases.acquire(known.folder)

    def _find_trace(self, cache: ReferenceCache, checkpoint: Checkpoint, case: Case) -> Trace | None:
        try:
            return cache.find(case)
        except DamagedFolderError as error:
            self._report_damage(checkpoint, case, error)
            return None

    def _has_floor(
        self, cache: ReferenceCache, checkpoint: Checkpoint, case: Case, trace: Trace, dtype: Dtype | None
    ) -> bool:
        """Return whether a cached trace needs no more; a floor that could not be measured is tried again."""
        if dtype is None or trace.outcome is not Outcome.CAPTURED or trace.depth is Depth.TOKENS:
            return True
        try:
            return cache.has_floor(case, dtype)
        except DamagedFolderError as error:
            self._report_damage(checkpoint, case, error)
            return False

    def _report_damage(self, checkpoint: Checkpoint, case: Case, error: DamagedFolderError) -> None:
        self._reporter.report(
            f"[{checkpoint.name} reference] {case.name}: the cache is damaged: {error}; it is captured again"
        )

    def _report_cached(self, checkpoint: Checkpoint, needed: int, missing: int) -> None:
        if needed > missing:
            self._reporter.report(
                f"[{checkpoint.name} reference] {needed - missing} of {needed} traces from the cache"
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
            log=self._shard.get_log_path(checkpoint.name, "reference"),
            is_reference=True,
            floor=floor,
            account=f"{checkpoint.name}/reference",
            environment_variables=self._plan.get_environment_variables(checkpoint),
            load_timeout=self._plan.load_timeout,
            case_timeout=self._plan.case_timeout,
        )
        with self._reporter.track_capture(f"{checkpoint.name} reference", len(tasks)) as progress:

            def report_captured(task: CaptureTask, trace: Trace) -> None:
                case = task.case
                with self._measure_cache(checkpoint):
                    folder = cache.store_draft(case) if is_cacheable(trace) else cache.draft(case)
                known[case.name] = StoredTrace(trace, folder)
                progress.report_result(case.name, trace.outcome)

            run_capture(job, report_captured, progress.report_load, self._shard.clock)
