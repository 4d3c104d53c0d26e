"""The reference's traces: from the cache where they are, captured where they are not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from harness.backends import REFERENCE
from harness.backends.base import Settings
from harness.capture.capture import Job, capture
from harness.capture.reference_cache import ReferenceCache, worth_keeping
from harness.case import Case
from harness.models.checkpoint import Checkpoint
from harness.part import PartFolder
from harness.plan import Plan
from harness.progress import Reporter
from harness.trace import Trace


@dataclass(frozen=True)
class Reference:
    """The reference's trace of one case, and the folder that holds its arrays."""

    trace: Trace
    folder: Path


class References:
    """The reference's traces of a session, each captured at most once."""

    def __init__(self, plan: Plan, part: PartFolder, reporter: Reporter) -> None:
        self._plan, self._part, self._reporter = plan, part, reporter
        self._known: dict[str, dict[str, Reference]] = defaultdict(dict)

    def of(self, checkpoint: Checkpoint, cases: Iterable[Case]) -> dict[str, Reference]:
        """The traces of these cases, by name."""
        settings = replace(self._plan.settings, dtype=self._plan.reference_dtype, engine_args={})
        cache = ReferenceCache(checkpoint, settings)
        known = self._known[checkpoint.name]
        asked = tuple(case for case in cases if case.name not in known)
        for case in asked:
            trace = cache.find(case)
            if trace is not None:
                known[case.name] = Reference(trace, cache.folder(case))
        missing = tuple(case for case in asked if case.name not in known)
        self._say_what_is_cached(checkpoint, len(asked), len(missing))
        if missing:
            self._capture(checkpoint, settings, cache, missing, known)
        return known

    def _say_what_is_cached(self, checkpoint: Checkpoint, asked: int, missing: int) -> None:
        if asked > missing:
            self._reporter.say(
                f"[{checkpoint.name} reference] {asked - missing} of {asked} traces from the cache"
            )

    def _capture(
        self,
        checkpoint: Checkpoint,
        settings: Settings,
        cache: ReferenceCache,
        cases: tuple[Case, ...],
        known: dict[str, Reference],
    ) -> None:
        job = Job(
            backend=REFERENCE,
            checkpoint=checkpoint,
            settings=settings,
            cases=cases,
            folders={case.name: cache.draft(case) for case in cases},
            log=self._part.log(checkpoint.name, "reference"),
            continuations=None,
            load_timeout=self._plan.load_timeout,
            case_timeout=self._plan.case_timeout,
        )
        name = f"{checkpoint.name}/reference"
        with self._reporter.capturing(f"{checkpoint.name} reference", len(cases)) as progress:

            def captured(case: Case, trace: Trace) -> None:
                folder = cache.keep(case) if worth_keeping(trace) else cache.draft(case)
                known[case.name] = Reference(trace, folder)
                self._part.add_seconds(f"{name}/capture", sum(trace.seconds.values()))
                progress.captured(case.name, trace.outcome)

            def loaded(seconds: float) -> None:
                self._part.add_seconds(f"{name}/load", seconds)
                progress.loaded(seconds)

            capture(job, captured, loaded)
