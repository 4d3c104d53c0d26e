"""One session: case -> trace -> diff -> verdict, for the models and backends of one environment."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from vlm_parity.backends.installation import check_installed
from vlm_parity.capture.failure import Failure, build_failed_trace
from vlm_parity.capture.reference_cache import trim_cache
from vlm_parity.capture.stored_trace import StoredTrace
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.resolve import get_model_name
from vlm_parity.schema.case import Case
from vlm_parity.schema.max_media import replace_max_media
from vlm_parity.schema.run_layout import get_conditioned_folder
from vlm_parity.schema.trace import Outcome
from vlm_parity.schema.verdict import Verdict
from vlm_parity.session.checkpoints import CheckpointProvider
from vlm_parity.session.engine_runner import EngineRunner, ExtraPass, Selected
from vlm_parity.session.locator import ModuleLocator, RecordedCase
from vlm_parity.session.plan import EngineLoad, Plan
from vlm_parity.session.progress import ProgressReporter, format_verdict
from vlm_parity.session.references import ReferenceProvider
from vlm_parity.session.saved_traces import find_conditioned_trace, load_saved_model, load_saved_traces
from vlm_parity.session.shard_writer import ShardWriter
from vlm_parity.session.verdict_writer import VerdictWriter
from vlm_parity.util.error_origin import describe_harness_error
from vlm_parity.util.errors import (
    CheckpointBuildError,
    EngineNotInstalledError,
    MediaError,
    MissingTraceError,
    RecordError,
    UnknownModelError,
    UsageError,
)
from vlm_parity.verdicts.known_issues import KnownIssue, describe_issues
from vlm_parity.verdicts.module_stages import select_continuation

NOT_COMPARABLE_ERRORS = (
    EngineNotInstalledError,
    UnknownModelError,
    CheckpointBuildError,
    MissingTraceError,
    RecordError,
)
"""Errors that end the comparison of a model before it begins."""


class Session:
    """Compares on demand: references, then one engine run for all of its cases, then a verdict for each."""

    def __init__(
        self,
        plan: Plan,
        cases: dict[str, Case],
        reporter: ProgressReporter,
        known_issues: tuple[KnownIssue, ...] = (),
    ) -> None:
        self._plan, self._cases, self._reporter = plan, cases, reporter
        self.shard = ShardWriter(plan.folder, plan.command, cases, plan.share)
        self.shard.set_issue_descriptions(describe_issues(known_issues))
        self._checkpoints = CheckpointProvider(plan, self.shard, reporter)
        self._references = ReferenceProvider(plan, self.shard, reporter)
        self._engines = EngineRunner(plan, cases, self.shard, reporter)
        self._verdicts = VerdictWriter(plan, self.shard, known_issues)
        self._locator = ModuleLocator(plan, self.shard, reporter, self._verdicts)
        self._failures: dict[EngineLoad, Exception] = {}

    def get_verdict(self, load: EngineLoad, case: str, batch: Iterable[tuple[EngineLoad, str]]) -> Verdict:
        """Return the verdict on one case; the first request of an engine load compares all of its cases.

        Args:
            load: the model, and the engine in its setup.
            case: name of the case.
            batch: every (load, case) that shares the engine.

        Raises:
            MissingTraceError, RecordError: the run that is compared again lacks a trace of this case.
            EngineNotInstalledError, UnknownModelError, CheckpointBuildError: there is nothing to compare;
                raised again for every other case of the engine.
        """
        verdict = self._verdicts.get(load, case)
        if verdict is not None:
            return verdict
        if self._plan.saved_traces is not None:
            return self._compare_saved(self._plan.saved_traces, load, case)
        engine = load.engine
        if engine in self._failures:
            raise self._failures[engine]
        selected = tuple(batch)
        try:
            self._compare(engine, selected)
        except Exception as error:  # another try would load the engine again, to the same end
            expected = (*NOT_COMPARABLE_ERRORS, UsageError, MediaError)
            if isinstance(error, expected) or not self._write_harness_errors(selected, error):
                self._failures[engine] = error
                self.shard.add_failure(f"{get_model_name(engine.model)} {engine.label}", error)
                raise
        verdict = self._verdicts.get(load, case)
        assert verdict is not None, "a capture job writes a trace for every task"
        return verdict

    def find_verdict(self, load: EngineLoad, case: str) -> Verdict | None:
        """Return the verdict on a case if there is one yet."""
        return self._verdicts.get(load, case)

    def _write_harness_errors(self, selected: Selected, error: Exception) -> bool:
        """Write a verdict on every case that has none, because the harness failed before it was compared.

        Returns:
            False if there is no checkpoint yet to state verdicts on, or they cannot be written either.
        """
        traceback.print_exception(error)
        failure = Failure(Outcome.HARNESS_ERROR, describe_harness_error(error))
        try:
            for load, name in selected:
                checkpoint = self._checkpoints.find(load.model)
                if checkpoint is None:
                    return False
                if self._verdicts.get(load, name) is not None:
                    self._verdicts.mark_unfinished(load, name, error)
                else:
                    case = self._cases[name]
                    reference = self._references.build_failed(checkpoint, case, failure)
                    settings = replace(self._plan.build_settings(checkpoint), mode=load.mode)
                    tested = build_failed_trace(
                        load.backend, checkpoint.name, settings, case, failure, load.entry_point
                    )
                    self._verdicts.write_harness_error(load, reference, tested, error)
        except Exception:
            traceback.print_exc()
            return False
        return True

    def finish(self, *, is_complete: bool) -> None:
        """Mark the shard as finished and trim the cache to its limit.

        Args:
            is_complete: whether every case was selected, so a known issue that matches nothing is obsolete.
        """
        if is_complete:
            self.shard.set_known_issues(self._verdicts.count_known_issues())
        self.shard.finish()
        if self._plan.saved_traces is None:
            self._trim_cache()

    def _trim_cache(self) -> None:
        """Trim the cache; the verdicts are written, so a failure costs a warning."""
        try:
            trim_cache()
        except OSError as error:
            self._reporter.report(f"warning: the cache could not be trimmed: {error}")

    def _compare_saved(self, run: Path, load: EngineLoad, case: str) -> Verdict:
        model = get_model_name(load.model)
        reference, tested = load_saved_traces(run, model, load.label, self._cases[case])
        if not self.shard.has_model(model):
            self.shard.add_model_info(load_saved_model(run, model))
        verdict = self._verdicts.write(load, reference, tested)
        while (condition := self._verdicts.select_condition(load, case)) is not None:
            conditioned = find_conditioned_trace(tested, get_conditioned_folder(load.label, condition))
            if conditioned is None or conditioned.trace.condition is not condition:
                reason = f"the run holds no trace on {condition.description}"
                verdict = self._verdicts.write_not_given(load, case, condition, reason)
            else:
                verdict = self._verdicts.write_conditioned(load, reference, conditioned)
        return verdict

    def _compare(self, engine: EngineLoad, selected: Selected) -> None:
        with self._references.hold():
            self._compare_engine(engine, selected)
        self._trim_cache()  # all families together may exceed it

    def _compare_engine(self, engine: EngineLoad, selected: Selected) -> None:
        check_installed([engine.backend])  # before the references, which take minutes
        checkpoint = self._checkpoints.get(engine.model)
        cases = {name: self._cases[name] for _, name in selected}
        references = self._references.provide(
            checkpoint, [case for case in cases.values() if case.max_size_modality is None]
        )
        max_media: list[tuple[EngineLoad, StoredTrace]] = []
        recorded: list[RecordedCase] = []

        def compare_captured(
            load: EngineLoad, tested: StoredTrace, done: ExtraPass | None
        ) -> tuple[str, ExtraPass | None]:
            case = cases[tested.trace.case]
            if case.max_size_modality is not None:
                max_media.append((load, tested))
                return tested.trace.outcome, None
            if done is not None and done.records_modules:
                recorded.append(self._build_recorded(load, case, tested, done))
                words = "recorded" if tested.trace.outcome is Outcome.CAPTURED else tested.trace.outcome
                return words, self._select_recording(load, case.name, done)
            reference = references[case.name]
            if done is None:
                verdict = self._verdicts.write(load, reference, tested)
            elif done.repetition:
                verdict = self._verdicts.write_repetition(load, reference, tested)
            else:
                verdict = self._verdicts.write_conditioned(load, reference, tested)
            return format_verdict(verdict), self._select_extra_pass(load, case.name)

        try:
            self._engines.run(checkpoint, engine, selected, references, compare_captured)
        except BaseException:
            self._locator.discard(recorded)
            raise
        self._locator.locate(checkpoint, recorded)
        self._compare_max_media(checkpoint, cases, max_media)

    def _select_extra_pass(self, load: EngineLoad, case: str) -> ExtraPass | None:
        """Return the next pass over a case: repeated first, since nothing is to be given for noise."""
        repetition = self._verdicts.select_repetition(load, case)
        if repetition is not None:
            number, front_end_only = repetition
            return ExtraPass(None, repetition=number, front_end_only=front_end_only)
        condition = self._verdicts.select_condition(load, case)
        return ExtraPass(condition) if condition is not None else self._select_recording(load, case, None)

    def _select_recording(self, load: EngineLoad, case: str, done: ExtraPass | None) -> ExtraPass | None:
        """Return the pass that records the modules under the next condition, None if there is none."""
        conditions = list(self._verdicts.select_recordings(load, case))
        start = 0 if done is None else conditions.index(done.condition) + 1
        return next((ExtraPass(each, records_modules=True) for each in conditions[start:]), None)

    def _build_recorded(
        self, load: EngineLoad, case: Case, tested: StoredTrace, done: ExtraPass
    ) -> RecordedCase:
        diffs = self._verdicts.select_recordings(load, case.name)[done.condition]
        continuation = select_continuation(diffs, tested.trace.continuation or ())
        stages = tuple(diff.stage for diff in diffs)
        return RecordedCase(load, case, tested, done.condition, stages, continuation)

    def _compare_max_media(
        self,
        checkpoint: Checkpoint,
        cases: Mapping[str, Case],
        max_media: list[tuple[EngineLoad, StoredTrace]],
    ) -> None:
        """Compare encoder budgets: the reference needs the media that the engine has named."""
        named = [
            replace_max_media(cases[tested.trace.case], tested.trace.encoder_budget)
            for _, tested in max_media
            if tested.trace.encoder_budget is not None
        ]
        references = self._references.provide(checkpoint, named, uses_max_media=True) if named else {}
        for load, tested in max_media:
            case = cases[tested.trace.case]
            reference = (
                self._references.build_skipped(checkpoint, case)
                if tested.trace.encoder_budget is None
                else references[case.name]
            )
            self._verdicts.write(load, reference, tested)
