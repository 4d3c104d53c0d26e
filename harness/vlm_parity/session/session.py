"""One session: case -> trace -> diff -> verdict, for the models and backends of one environment."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from vlm_parity.capture.reference_cache import copy_tensors, trim
from vlm_parity.capture.runner import Job, Task, capture
from vlm_parity.capture.stored_trace import Reference
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.resolve import model_name, resolve
from vlm_parity.schema.array_sketch import copy_sketch
from vlm_parity.schema.case import Case
from vlm_parity.schema.engine_setup import DEFAULT_MODE, EntryPoint, engine_label
from vlm_parity.schema.max_media import with_medium
from vlm_parity.schema.run_layout import REFERENCE
from vlm_parity.schema.trace import TENSOR_FILE, Depth, Trace
from vlm_parity.schema.verdict import Verdict
from vlm_parity.session.part_writer import PartFolder
from vlm_parity.session.plan import EngineLoad, Plan
from vlm_parity.session.progress import CaptureProgress, Reporter
from vlm_parity.session.references import References
from vlm_parity.session.saved_traces import earlier_traces
from vlm_parity.util.errors import CheckpointBuildError, MissingTraceError, RecordError, UnknownModelError
from vlm_parity.verdicts.decide import judge
from vlm_parity.verdicts.known_issues import Entry, fitted, with_ledger

_SHORTEST = 4096  # tokens; engines need some for their own warm-up
_ROUNDED_TO = 1024

NOT_COMPARABLE = (UnknownModelError, CheckpointBuildError, MissingTraceError, RecordError)
"""What ends the comparison of a model before it begins; the messages say what to do."""


class Session:
    """Captures and compares on demand, all cases of an engine load at a time, and writes as it goes."""

    def __init__(
        self, plan: Plan, cases: dict[str, Case], reporter: Reporter, ledger: tuple[Entry, ...] = ()
    ) -> None:
        self._plan, self._cases, self._reporter, self._ledger = plan, cases, reporter, ledger
        self.part = PartFolder(plan.folder, plan.command, cases)
        self._references = References(plan, self.part, reporter)
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
        if self._plan.earlier is not None:
            found = earlier_traces(self._plan.earlier, model_name(load.model), load.label, self._cases[case])
            self._verdicts[key] = self._judge(load, *found)
            return self._verdicts[key]
        engine = load.engine
        if engine in self._failures:
            raise self._failures[engine]
        try:
            self._compare(engine, tuple(together))
        except Exception as problem:  # another try would load the engine again, to the same end
            self._failures[engine] = problem
            self.part.stopped(f"{model_name(engine.model)} {engine.label}", problem)
            raise
        return self._verdicts[key]

    def finish(self, *, everything: bool) -> None:
        """Marks the part as whole, and keeps the cache within its limit.

        Args:
            everything: whether the session was asked for all there is, so that an entry of the ledger
                that fits nothing is of no use.
        """
        if everything:
            self.part.add_ledger(fitted(self._ledger, self._verdicts.values()))
        self.part.finish()
        if self._plan.earlier is None:
            trim()

    def _compare(self, engine: EngineLoad, asked: tuple[tuple[EngineLoad, str], ...]) -> None:
        checkpoint = self._checkpoint(engine.model)
        cases = {name: self._cases[name] for _, name in asked}
        known = [case for case in cases.values() if case.largest is None]
        references = self._references.of(checkpoint, known)
        job = self._job(checkpoint, engine, asked, references)
        named: list[tuple[EngineLoad, Reference]] = []
        with self._reporter.capturing(f"{checkpoint.name} {engine.label}", len(job.tasks)) as progress:

            def captured(task: Task, trace: Trace) -> None:
                name, load = task.case.name, replace(engine, entry_point=trace.entry_point)
                if task.largest:
                    named.append((load, Reference(trace, task.folder)))
                    progress.captured(name, trace.outcome)
                    return
                verdict = self._judge(load, references[name], Reference(trace, task.folder))
                self._verdicts[load, name] = verdict
                progress.captured(
                    name if task.entry_point is engine.entry_point else f"{name} by {task.entry_point}",
                    _in_words(verdict),
                )

            capture(job, captured, lambda seconds: self._loaded(checkpoint, engine, seconds, progress))
        self._judge_largest(checkpoint, named)
        trim()  # every family together would not fit

    def _judge_largest(self, checkpoint: Checkpoint, named: list[tuple[EngineLoad, Reference]]) -> None:
        """The engine has named its largest media: what does the reference make of them?"""
        cases = [
            with_medium(self._cases[tested.trace.case], tested.trace.reserved)
            for _, tested in named
            if tested.trace.reserved is not None
        ]
        references = self._references.of(checkpoint, cases, largest=True) if cases else {}
        for load, tested in named:
            name = tested.trace.case
            asked = tested.trace.reserved is not None
            reference = references[name] if asked else self._references.unasked(checkpoint, self._cases[name])
            self._verdicts[load, name] = self._judge(load, reference, tested)

    def _checkpoint(self, model: str) -> Checkpoint:
        if model not in self._checkpoints:
            deep = self._plan.settings.depth is Depth.LOGITS
            self._checkpoints[model] = resolve(model, weights=deep, listed=self._plan.listed)
            self.part.add_model(self._checkpoints[model])
            self._say_if_unpinned(model)
        return self._checkpoints[model]

    def _say_if_unpinned(self, model: str) -> None:
        entry = self._plan.listed.get(model)
        if entry is not None and not entry.pinned:
            source = self._checkpoints[model].source
            self._reporter.say(f"[{model}] NOT PINNED: the model list names no commit; this is {source}")

    def _job(
        self,
        checkpoint: Checkpoint,
        engine: EngineLoad,
        asked: tuple[tuple[EngineLoad, str], ...],
        references: dict[str, Reference],
    ) -> Job:
        cases = {name: self._cases[name] for _, name in asked}
        known = {name: case for name, case in cases.items() if case.largest is None}
        length = _needed_length((references[name].trace, case) for name, case in known.items())
        settings = replace(
            self._plan.settings_of(checkpoint),
            max_length=length,
            mode=engine.mode,
            engine_args=self._plan.engine_args_of(checkpoint, engine.backend),
        )
        tasks = (
            Task(
                self._cases[name],
                self.part.trace(checkpoint.name, load.label, name),
                entry_point=load.entry_point,
                largest=name not in known,
                continuation=references[name].trace.continuation or None if name in known else None,
            )
            for load, name in sorted(asked, key=lambda one: one[1] not in known)  # a large one may kill it
        )
        return Job(
            backend=engine.backend,
            entry_point=engine.entry_point,
            checkpoint=checkpoint,
            settings=settings,
            tasks=tuple(tasks),
            log=self.part.log(checkpoint.name, engine.label),
            load_timeout=self._plan.load_timeout,
            case_timeout=self._plan.case_timeout,
        )

    def _loaded(
        self, checkpoint: Checkpoint, engine: EngineLoad, seconds: float, progress: CaptureProgress
    ) -> None:
        self.part.add_seconds(f"{checkpoint.name}/{engine.label}/load", seconds)
        progress.loaded(seconds)

    def _judge(self, load: EngineLoad, reference: Reference, tested: Reference) -> Verdict:
        """Compares two traces, writes the verdict, and lets the arrays go."""
        start = time.perf_counter()
        trace = tested.trace
        selected = f"{self._plan.reproduce} {_selection(load, trace.case)}"
        reproduce = self._plan.reproduce_as or selected
        alone = self._verdicts.get(
            (replace(load, mode=DEFAULT_MODE, entry_point=EntryPoint.CHAT), trace.case)
        )
        judged = judge(reference.trace, trace, reference.folder, tested.folder, reproduce, alone)
        verdict = with_ledger(judged, self._ledger, datetime.now(UTC).date())
        self.part.write_verdict(verdict)
        copy_sketch(reference.folder, self.part.trace(trace.model, REFERENCE, trace.case))
        if self._plan.keep_logits:
            self._keep(reference, tested)
        elif self._plan.earlier is None:
            (tested.folder / TENSOR_FILE).unlink(missing_ok=True)
        self.part.add_seconds("diff", time.perf_counter() - start)
        self.part.add_seconds(f"{trace.model}/{load.label}/capture", sum(trace.seconds.values()))
        return verdict

    def _keep(self, reference: Reference, tested: Reference) -> None:
        trace = tested.trace
        for name, side in (
            (REFERENCE, reference),
            (engine_label(trace.backend, trace.mode, trace.entry_point), tested),
        ):
            folder = self.part.trace(trace.model, name, trace.case)
            if folder != side.folder:
                side.trace.write(folder)
                copy_tensors(side.folder, folder)


def _selection(load: EngineLoad, case: str) -> str:
    words = ["--backend", load.backend, "--model", load.model]
    if load.mode != DEFAULT_MODE:
        words += ["--mode", load.mode]
    if load.entry_point is not EntryPoint.CHAT:
        words += ["--entry-point", load.entry_point]
    return shlex.join([*words, "--case", case])


def _needed_length(asked: Iterable[tuple[Trace, Case]]) -> int:
    """The longest sequence that the cases need, in tokens, rounded up; each with the reference's trace."""
    longest = max((len(trace.input_ids or ()) + case.max_new_tokens for trace, case in asked), default=0)
    return max(_SHORTEST, -(-longest // _ROUNDED_TO) * _ROUNDED_TO)


def _in_words(verdict: Verdict) -> str:
    return f"{verdict.kind} at {verdict.first_divergence}" if verdict.first_divergence else verdict.kind
