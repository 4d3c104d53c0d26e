"""Verdicts of a session: compared, written and remembered one by one."""

from __future__ import annotations

import shlex
import shutil
import traceback
from dataclasses import replace
from datetime import UTC, datetime

from vlm_parity.backends.registry import load_backend_class
from vlm_parity.capture.reference_cache import copy_arrays
from vlm_parity.capture.stored_trace import StoredTrace
from vlm_parity.diagnosis.module_causes import name_causes
from vlm_parity.diff.pair import build_not_compared
from vlm_parity.schema.array_sketch import copy_sketch
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.engine_setup import DEFAULT_MODE, EntryPoint
from vlm_parity.schema.location import Location
from vlm_parity.schema.manifest import write_manifest
from vlm_parity.schema.run_layout import REFERENCE_FOLDER, get_conditioned_folder
from vlm_parity.schema.trace import ARRAY_FILE, Stage, Trace
from vlm_parity.schema.verdict import StageDiff, Verdict
from vlm_parity.session.plan import EngineLoad, Plan
from vlm_parity.session.shard_writer import ShardWriter
from vlm_parity.verdicts.conditioned import add_pass, select_condition
from vlm_parity.verdicts.decide import decide_conditioned, decide_verdict
from vlm_parity.verdicts.harness_errors import build_harness_error_verdict, mark_harness_error
from vlm_parity.verdicts.known_issues import KnownIssue, apply_known_issues, match_counts
from vlm_parity.verdicts.module_stages import find_module_differences
from vlm_parity.verdicts.repetitions import (
    FRONT_END,
    add_repetition,
    compare_repetition,
    digest_stage,
    needs_repetition,
)


class VerdictWriter:
    """Decides verdicts and writes each at once, so a session that is cut off keeps what it has."""

    def __init__(self, plan: Plan, shard: ShardWriter, known_issues: tuple[KnownIssue, ...]) -> None:
        self._plan, self._shard, self._known_issues = plan, shard, known_issues
        self._verdicts: dict[tuple[EngineLoad, str], Verdict] = {}
        self._decided: dict[tuple[EngineLoad, str], Verdict] = {}
        """The verdicts without known issues."""
        self._digests: dict[tuple[EngineLoad, str], str] = {}
        """Of the first passes, at the first stage that differs, of the cases that are to be repeated."""

    def get(self, load: EngineLoad, case: str) -> Verdict | None:
        """Return the verdict on a case, if there is one yet."""
        return self._verdicts.get((load, case))

    def write(self, load: EngineLoad, reference: StoredTrace, tested: StoredTrace) -> Verdict:
        """Compare two traces, write the verdict and drop the arrays that are not to be kept.

        If the harness itself fails at one of these steps, the verdict is ``harness_error``.
        """
        with self._shard.clock.measure("diff"):
            return self._write(load, reference, tested)

    def _write(self, load: EngineLoad, reference: StoredTrace, tested: StoredTrace) -> Verdict:
        verdict = self._decide(load, reference, tested)
        self._store(load, verdict)
        try:
            self._digest_difference(load, tested)
            self._handle_traces(load, reference, tested)
        except Exception as error:  # the other cases go on
            traceback.print_exc()
            verdict = mark_harness_error(verdict, "handling the traces", error)
            self._store(load, verdict)
        return verdict

    def _digest_difference(self, load: EngineLoad, tested: StoredTrace) -> None:
        """Keep a digest of the stage that is to be repeated, for the arrays are not kept."""
        decided = self._decided[load, tested.trace.case]
        is_saved = self._plan.saved_traces is not None
        if decided.first_divergence is None or is_saved:
            return
        if needs_repetition(decided, self._plan.passes):
            digest = digest_stage(tested.trace, tested.folder, decided.first_divergence)
            self._digests[load, tested.trace.case] = digest

    def select_repetition(self, load: EngineLoad, case: str) -> tuple[int, bool] | None:
        """Return the number of the pass that is to repeat a case, and whether the front end is enough.

        Returns:
            None if the case does not differ, or was repeated as often as the plan says.
        """
        decided = self._decided[load, case]
        if (load, case) not in self._digests or not needs_repetition(decided, self._plan.passes):
            return None
        return len(decided.repetitions) + 2, decided.first_divergence in FRONT_END

    def write_repetition(self, load: EngineLoad, reference: StoredTrace, repeated: StoredTrace) -> Verdict:
        """Add a repeated pass to the verdict, and write it again.

        Args:
            load: the model, and the engine in its setup.
            reference: the trace that the first pass was compared with.
            repeated: the trace of the pass.
        """
        with self._shard.clock.measure("repeat"):
            case = repeated.trace.case
            decided = self._decided[load, case]
            try:
                repetition = compare_repetition(
                    decided, repeated.trace, reference.folder, repeated.folder, self._digests[load, case]
                )
                if not self._plan.keep_logits:
                    shutil.rmtree(repeated.folder)
            except Exception as error:  # the other cases go on
                traceback.print_exc()
                self._digests.pop((load, case))
                verdict = mark_harness_error(decided, "comparing a repeated pass", error)
                self._decided[load, case] = verdict
            else:
                self._decided[load, case] = add_repetition(decided, repetition)
                verdict = self._apply_known_issues(self._decided[load, case])
            self._store(load, verdict)
            return verdict

    def write_conditioned(
        self, load: EngineLoad, reference: StoredTrace, conditioned: StoredTrace
    ) -> Verdict:
        """Add the comparison of a pass on given values to the verdict, and write it again.

        Args:
            load: the model, and the engine in its setup.
            reference: the trace whose values were given.
            conditioned: the trace of the pass.
        """
        with self._shard.clock.measure("diff"):
            case, condition = conditioned.trace.case, conditioned.trace.condition
            assert condition is not None
            decided = decide_conditioned(
                self._decided[load, case],
                conditioned.trace,
                reference.folder,
                conditioned.folder,
                self._get_default(load, case),
            )
            self._decided[load, case] = decided
            verdict = self._apply_known_issues(decided)
            self._store(load, verdict)
            try:
                self._keep_or_drop(get_conditioned_folder(load.label, condition), conditioned)
            except Exception as error:
                traceback.print_exc()
                verdict = mark_harness_error(verdict, "handling the traces", error)
                self._store(load, verdict)
            return verdict

    def write_not_given(self, load: EngineLoad, case: str, condition: Condition, reason: str) -> Verdict:
        """Add to the verdict that a pass on given values was not compared, and write it again."""
        not_compared = [build_not_compared(stage, reason) for stage in Stage]
        decided = add_pass(self._decided[load, case], condition, not_compared)
        self._decided[load, case] = decided
        verdict = self._apply_known_issues(decided)
        self._store(load, verdict)
        return verdict

    def write_location(self, load: EngineLoad, case: str, location: Location) -> None:
        """Add a location to the verdict, and write it again."""
        verdict = self._verdicts[load, case]
        locations = (*verdict.locations, name_causes(location))
        self._store(load, verdict.model_copy(update={"locations": locations}))

    def select_recordings(self, load: EngineLoad, case: str) -> dict[Condition | None, tuple[StageDiff, ...]]:
        """Return the differences of a case that are to be located, by the values that the engine is given."""
        return find_module_differences(self._decided[load, case]) if self._plan.locate else {}

    def mark_unfinished(self, load: EngineLoad, case: str, error: Exception) -> None:
        """Turn a verdict into ``harness_error`` if a repeated pass or one on given values was still to come.

        Args:
            load: the model, and the engine in its setup.
            case: name of a case with a verdict.
            error: raised by the session.
        """
        if (load, case) not in self._decided:
            return
        is_unfinished = (
            self.select_repetition(load, case) is not None or self.select_condition(load, case) is not None
        )
        if is_unfinished:
            verdict = self._verdicts[load, case]
            self._store(load, mark_harness_error(verdict, "running the session's further passes", error))

    def select_condition(self, load: EngineLoad, case: str) -> Condition | None:
        """Return the values that the engine is to be given next on a case; None for nothing."""
        offered = load_backend_class(load.backend, load.entry_point).conditions
        return select_condition(self._decided[load, case], offered)

    def write_harness_error(
        self, load: EngineLoad, reference: Trace, tested: Trace, error: Exception
    ) -> Verdict:
        """Write the verdict on a case that the session could not compare because the harness failed.

        Args:
            load: the model, and the engine in its setup.
            reference: a trace that holds nothing but its outcome.
            tested: likewise.
            error: raised by the session.
        """
        reproduce = self._reproduce_command(load, tested.case)
        verdict = build_harness_error_verdict(reference, tested, reproduce, "running the session", error)
        self._store(load, verdict)
        return verdict

    def _decide(self, load: EngineLoad, reference: StoredTrace, tested: StoredTrace) -> Verdict:
        case = tested.trace.case
        decided = decide_verdict(
            reference.trace,
            tested.trace,
            reference.folder,
            tested.folder,
            self._reproduce_command(load, case),
            self._get_default(load, case),
        ).model_copy(update={"attempts": tested.attempts})
        self._decided[load, case] = decided
        return self._apply_known_issues(decided)

    def _get_default(self, load: EngineLoad, case: str) -> Verdict | None:
        return self.get(replace(load, mode=DEFAULT_MODE, entry_point=EntryPoint.CHAT), case)

    def _apply_known_issues(self, decided: Verdict) -> Verdict:
        try:
            return apply_known_issues(decided, self._known_issues, datetime.now(UTC).date())
        except Exception as error:
            traceback.print_exc()
            return mark_harness_error(decided, "applying the known issues", error)

    def _store(self, load: EngineLoad, verdict: Verdict) -> None:
        self._verdicts[load, verdict.case] = verdict
        self._shard.write_verdict(verdict)

    def _handle_traces(self, load: EngineLoad, reference: StoredTrace, tested: StoredTrace) -> None:
        """Keep the sketch of the reference, and both traces if they are to be kept; drop the arrays."""
        trace = tested.trace
        copy_sketch(reference.folder, self._shard.get_trace_folder(trace.model, REFERENCE_FOLDER, trace.case))
        if self._plan.keep_logits:
            self._keep(trace.model, REFERENCE_FOLDER, reference)
        self._keep_or_drop(load.label, tested)

    def _keep_or_drop(self, label: str, tested: StoredTrace) -> None:
        if self._plan.keep_logits:
            self._keep(tested.trace.model, label, tested)
        elif self._plan.saved_traces is None:
            (tested.folder / ARRAY_FILE).unlink(missing_ok=True)

    def count_known_issues(self) -> dict[str, int]:
        """Return how many verdicts each known issue matches."""
        return match_counts(self._known_issues, self._verdicts.values())

    def _keep(self, model: str, label: str, side: StoredTrace) -> None:
        folder = self._shard.get_trace_folder(model, label, side.trace.case)
        if folder != side.folder:
            side.trace.write(folder)
            copy_arrays(side.folder, folder)
        write_manifest(folder)

    def _reproduce_command(self, load: EngineLoad, case: str) -> str:
        if self._plan.reproduce_as is not None:
            return self._plan.reproduce_as
        words = ["--backend", load.backend, "--model", load.model]
        if load.mode != DEFAULT_MODE:
            words += ["--mode", load.mode]
        if load.entry_point is not EntryPoint.CHAT:
            words += ["--entry-point", load.entry_point]
        return f"{self._plan.reproduce} {shlex.join([*words, '--case', case])}"
