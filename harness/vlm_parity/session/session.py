"""One session: case -> trace -> diff -> verdict, for the models and backends of one environment."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from vlm_parity.capture.reference_cache import copy_arrays, trim_cache
from vlm_parity.capture.runner import CaptureJob, CaptureTask, run_capture
from vlm_parity.capture.stored_trace import StoredTrace
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.resolve import get_model_name, resolve_model
from vlm_parity.schema.array_sketch import copy_sketch
from vlm_parity.schema.case import Case
from vlm_parity.schema.engine_setup import DEFAULT_MODE, EntryPoint, engine_label
from vlm_parity.schema.max_media import replace_max_media
from vlm_parity.schema.run_layout import REFERENCE_FOLDER
from vlm_parity.schema.trace import ARRAY_FILE, Depth, Trace
from vlm_parity.schema.verdict import Verdict
from vlm_parity.session.plan import EngineLoad, Plan
from vlm_parity.session.progress import CaptureProgress, ProgressReporter
from vlm_parity.session.references import ReferenceProvider
from vlm_parity.session.saved_traces import load_saved_traces
from vlm_parity.session.shard_writer import ShardWriter
from vlm_parity.util.errors import CheckpointBuildError, MissingTraceError, RecordError, UnknownModelError
from vlm_parity.verdicts.decide import decide_verdict
from vlm_parity.verdicts.known_issues import KnownIssue, apply_known_issues, match_counts

_MIN_LENGTH = 4096  # tokens; engines need some for their own warm-up
_LENGTH_MULTIPLE = 1024

NOT_COMPARABLE_ERRORS = (UnknownModelError, CheckpointBuildError, MissingTraceError, RecordError)
"""What ends the comparison of a model before it begins; the messages say what to do."""


class Session:
    """Captures and compares on demand, all cases of an engine load at a time, and writes as it goes."""

    def __init__(
        self,
        plan: Plan,
        cases: dict[str, Case],
        reporter: ProgressReporter,
        known_issues: tuple[KnownIssue, ...] = (),
    ) -> None:
        self._plan, self._cases, self._reporter, self._known_issues = plan, cases, reporter, known_issues
        self.shard = ShardWriter(plan.folder, plan.command, cases)
        self._references = ReferenceProvider(plan, self.shard, reporter)
        self._checkpoints: dict[str, Checkpoint] = {}
        self._verdicts: dict[tuple[EngineLoad, str], Verdict] = {}
        self._failures: dict[EngineLoad, Exception] = {}

    def verdict(self, load: EngineLoad, case: str, together: Iterable[tuple[EngineLoad, str]]) -> Verdict:
        """The verdict on one case.

        Args:
            load: the model, and the engine in the way it is to be run.
            case: the case's name.
            together: all that the engine is to be asked while it is loaded.

        Raises:
            MissingTraceError, RecordError: the earlier run lacks a trace of this case.
            UnknownModelError, CheckpointBuildError: there is nothing to compare; the same again for every other
                case of the engine.
        """
        key = (load, case)
        if key in self._verdicts:
            return self._verdicts[key]
        if self._plan.saved_traces is not None:
            found = load_saved_traces(
                self._plan.saved_traces, get_model_name(load.model), load.label, self._cases[case]
            )
            self._verdicts[key] = self._decide_verdict(load, *found)
            return self._verdicts[key]
        engine = load.engine
        if engine in self._failures:
            raise self._failures[engine]
        try:
            self._compare(engine, tuple(together))
        except Exception as problem:  # another try would load the engine again, to the same end
            self._failures[engine] = problem
            self.shard.add_failure(f"{get_model_name(engine.model)} {engine.label}", problem)
            raise
        return self._verdicts[key]

    def finish(self, *, everything: bool) -> None:
        """Marks the part as whole, and keeps the cache within its limit.

        Args:
            everything: whether the session was asked for all there is, so that an entry of the ledger
                that fits nothing is of no use.
        """
        if everything:
            self.shard.set_known_issues(match_counts(self._known_issues, self._verdicts.values()))
        self.shard.finish()
        if self._plan.saved_traces is None:
            trim_cache()

    def _compare(self, engine: EngineLoad, asked: tuple[tuple[EngineLoad, str], ...]) -> None:
        checkpoint = self._checkpoint(engine.model)
        cases = {name: self._cases[name] for _, name in asked}
        known = [case for case in cases.values() if case.largest is None]
        references = self._references.of(checkpoint, known)
        job = self._job(checkpoint, engine, asked, references)
        named: list[tuple[EngineLoad, StoredTrace]] = []
        with self._reporter.track_capture(f"{checkpoint.name} {engine.label}", len(job.tasks)) as progress:

            def captured(task: CaptureTask, trace: Trace) -> None:
                name, load = task.case.name, replace(engine, entry_point=trace.entry_point)
                if task.largest:
                    named.append((load, StoredTrace(trace, task.folder)))
                    progress.report_result(name, trace.outcome)
                    return
                verdict = self._decide_verdict(load, references[name], StoredTrace(trace, task.folder))
                self._verdicts[load, name] = verdict
                progress.report_result(
                    name if task.entry_point is engine.entry_point else f"{name} by {task.entry_point}",
                    _format_verdict(verdict),
                )

            run_capture(job, captured, lambda seconds: self._loaded(checkpoint, engine, seconds, progress))
        self._compare_max_media(checkpoint, named)
        trim_cache()  # every family together would not fit

    def _compare_max_media(self, checkpoint: Checkpoint, named: list[tuple[EngineLoad, StoredTrace]]) -> None:
        """The engine has named its largest media: what does the reference make of them?"""
        cases = [
            replace_max_media(self._cases[tested.trace.case], tested.trace.encoder_budget)
            for _, tested in named
            if tested.trace.encoder_budget is not None
        ]
        references = self._references.of(checkpoint, cases, largest=True) if cases else {}
        for load, tested in named:
            name = tested.trace.case
            asked = tested.trace.encoder_budget is not None
            reference = (
                references[name] if asked else self._references.build_skipped(checkpoint, self._cases[name])
            )
            self._verdicts[load, name] = self._decide_verdict(load, reference, tested)

    def _checkpoint(self, model: str) -> Checkpoint:
        if model not in self._checkpoints:
            deep = self._plan.settings.depth is Depth.LOGITS
            self._checkpoints[model] = resolve_model(model, weights=deep, model_list=self._plan.model_list)
            self.shard.add_model(self._checkpoints[model])
            self._report_unpinned(model)
        return self._checkpoints[model]

    def _report_unpinned(self, model: str) -> None:
        entry = self._plan.model_list.get(model)
        if entry is not None and not entry.pinned:
            source = self._checkpoints[model].source
            self._reporter.report(f"[{model}] NOT PINNED: the model list names no commit; this is {source}")

    def _job(
        self,
        checkpoint: Checkpoint,
        engine: EngineLoad,
        asked: tuple[tuple[EngineLoad, str], ...],
        references: dict[str, StoredTrace],
    ) -> CaptureJob:
        cases = {name: self._cases[name] for _, name in asked}
        known = {name: case for name, case in cases.items() if case.largest is None}
        length = _compute_max_length((references[name].trace, case) for name, case in known.items())
        settings = replace(
            self._plan.settings_of(checkpoint),
            max_length=length,
            mode=engine.mode,
            engine_args=self._plan.engine_args_of(checkpoint, engine.backend),
        )
        tasks = (
            CaptureTask(
                self._cases[name],
                self.shard.trace(checkpoint.name, load.label, name),
                entry_point=load.entry_point,
                largest=name not in known,
                continuation=references[name].trace.continuation or None if name in known else None,
            )
            for load, name in sorted(asked, key=lambda one: one[1] not in known)  # a large one may kill it
        )
        return CaptureJob(
            backend=engine.backend,
            entry_point=engine.entry_point,
            checkpoint=checkpoint,
            settings=settings,
            tasks=tuple(tasks),
            log=self.shard.log(checkpoint.name, engine.label),
            load_timeout=self._plan.load_timeout,
            case_timeout=self._plan.case_timeout,
        )

    def _loaded(
        self, checkpoint: Checkpoint, engine: EngineLoad, seconds: float, progress: CaptureProgress
    ) -> None:
        self.shard.add_seconds(f"{checkpoint.name}/{engine.label}/load", seconds)
        progress.report_load(seconds)

    def _decide_verdict(self, load: EngineLoad, reference: StoredTrace, tested: StoredTrace) -> Verdict:
        """Compares two traces, writes the verdict, and lets the arrays go."""
        start = time.perf_counter()
        trace = tested.trace
        selected = f"{self._plan.reproduce} {_build_selection(load, trace.case)}"
        reproduce = self._plan.reproduce_as or selected
        alone = self._verdicts.get(
            (replace(load, mode=DEFAULT_MODE, entry_point=EntryPoint.CHAT), trace.case)
        )
        judged = decide_verdict(reference.trace, trace, reference.folder, tested.folder, reproduce, alone)
        verdict = apply_known_issues(judged, self._known_issues, datetime.now(UTC).date())
        self.shard.write_verdict(verdict)
        copy_sketch(reference.folder, self.shard.trace(trace.model, REFERENCE_FOLDER, trace.case))
        if self._plan.keep_logits:
            self._keep(reference, tested)
        elif self._plan.saved_traces is None:
            (tested.folder / ARRAY_FILE).unlink(missing_ok=True)
        self.shard.add_seconds("diff", time.perf_counter() - start)
        self.shard.add_seconds(f"{trace.model}/{load.label}/capture", sum(trace.seconds.values()))
        return verdict

    def _keep(self, reference: StoredTrace, tested: StoredTrace) -> None:
        trace = tested.trace
        for name, side in (
            (REFERENCE_FOLDER, reference),
            (engine_label(trace.backend, trace.mode, trace.entry_point), tested),
        ):
            folder = self.shard.trace(trace.model, name, trace.case)
            if folder != side.folder:
                side.trace.write(folder)
                copy_arrays(side.folder, folder)


def _build_selection(load: EngineLoad, case: str) -> str:
    words = ["--backend", load.backend, "--model", load.model]
    if load.mode != DEFAULT_MODE:
        words += ["--mode", load.mode]
    if load.entry_point is not EntryPoint.CHAT:
        words += ["--entry-point", load.entry_point]
    return shlex.join([*words, "--case", case])


def _compute_max_length(asked: Iterable[tuple[Trace, Case]]) -> int:
    """The longest sequence that the cases need, in tokens, rounded up; each with the reference's trace."""
    longest = max((len(trace.input_ids or ()) + case.max_new_tokens for trace, case in asked), default=0)
    return max(_MIN_LENGTH, -(-longest // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE)


def _format_verdict(verdict: Verdict) -> str:
    return f"{verdict.kind} at {verdict.first_divergence}" if verdict.first_divergence else verdict.kind
