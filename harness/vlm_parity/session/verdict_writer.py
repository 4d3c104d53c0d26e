"""Verdicts of a session: compared, written and remembered one by one."""

from __future__ import annotations

import shlex
import time
from dataclasses import replace
from datetime import UTC, datetime

from vlm_parity.capture.reference_cache import copy_arrays
from vlm_parity.capture.stored_trace import StoredTrace
from vlm_parity.schema.array_sketch import copy_sketch
from vlm_parity.schema.engine_setup import DEFAULT_MODE, EntryPoint
from vlm_parity.schema.run_layout import REFERENCE_FOLDER
from vlm_parity.schema.trace import ARRAY_FILE
from vlm_parity.schema.verdict import Verdict
from vlm_parity.session.plan import EngineLoad, Plan
from vlm_parity.session.shard_writer import ShardWriter
from vlm_parity.verdicts.decide import decide_verdict
from vlm_parity.verdicts.known_issues import KnownIssue, apply_known_issues, match_counts


class VerdictWriter:
    """Decides verdicts and writes each at once, so a session that is cut off keeps what it has."""

    def __init__(self, plan: Plan, shard: ShardWriter, known_issues: tuple[KnownIssue, ...]) -> None:
        self._plan, self._shard, self._known_issues = plan, shard, known_issues
        self._verdicts: dict[tuple[EngineLoad, str], Verdict] = {}

    def get(self, load: EngineLoad, case: str) -> Verdict | None:
        """Return the verdict on a case, if there is one yet."""
        return self._verdicts.get((load, case))

    def write(self, load: EngineLoad, reference: StoredTrace, tested: StoredTrace) -> Verdict:
        """Compare two traces, write the verdict and drop the arrays that are not to be kept."""
        start = time.perf_counter()
        trace = tested.trace
        default = self.get(replace(load, mode=DEFAULT_MODE, entry_point=EntryPoint.CHAT), trace.case)
        decided = decide_verdict(
            reference.trace,
            trace,
            reference.folder,
            tested.folder,
            self._reproduce_command(load, trace.case),
            default,
        )
        verdict = apply_known_issues(decided, self._known_issues, datetime.now(UTC).date())
        self._shard.write_verdict(verdict)
        self._verdicts[load, trace.case] = verdict
        copy_sketch(reference.folder, self._shard.get_trace_folder(trace.model, REFERENCE_FOLDER, trace.case))
        if self._plan.keep_logits:
            self._keep(trace.model, REFERENCE_FOLDER, reference)
            self._keep(trace.model, load.label, tested)
        elif self._plan.saved_traces is None:
            (tested.folder / ARRAY_FILE).unlink(missing_ok=True)
        self._shard.add_seconds("diff", time.perf_counter() - start)
        self._shard.add_seconds(f"{trace.model}/{load.label}/capture", sum(trace.seconds.values()))
        return verdict

    def count_known_issues(self) -> dict[str, int]:
        """Return how many verdicts each known issue matches."""
        return match_counts(self._known_issues, self._verdicts.values())

    def _keep(self, model: str, label: str, side: StoredTrace) -> None:
        folder = self._shard.get_trace_folder(model, label, side.trace.case)
        if folder != side.folder:
            side.trace.write(folder)
            copy_arrays(side.folder, folder)

    def _reproduce_command(self, load: EngineLoad, case: str) -> str:
        if self._plan.reproduce_as is not None:
            return self._plan.reproduce_as
        words = ["--backend", load.backend, "--model", load.model]
        if load.mode != DEFAULT_MODE:
            words += ["--mode", load.mode]
        if load.entry_point is not EntryPoint.CHAT:
            words += ["--entry-point", load.entry_point]
        return f"{self._plan.reproduce} {shlex.join([*words, '--case', case])}"
