"""The reference's traces: from the cache where they are, captured where they are not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from harness.backends import REFERENCE
from harness.backends.base import Dtype, Settings
from harness.capture.capture import Job, Task, capture
from harness.capture.reference import Reference
from harness.capture.reference_cache import ReferenceCache, worth_keeping
from harness.case import Case
from harness.earlier import given_reference
from harness.models.checkpoint import Checkpoint
from harness.noise import read_floor
from harness.part import PartFolder
from harness.plan import Plan
from harness.progress import Reporter
from harness.trace import ALONE, Depth, Outcome, Trace


def truth_dtype(checkpoint: Checkpoint) -> Dtype:
    """What the reference computes in if nothing else is asked for: twice the precision of any engine
    where the model is small enough."""
    return "float64" if checkpoint.source == "synthetic" else "float32"


class References:
    """The reference's traces of a session, each captured at most once."""

    def __init__(self, plan: Plan, part: PartFolder, reporter: Reporter) -> None:
        self._plan, self._part, self._reporter = plan, part, reporter
        self._known: dict[str, dict[str, Reference]] = defaultdict(dict)

    def of(self, checkpoint: Checkpoint, cases: Iterable[Case]) -> dict[str, Reference]:
        """The traces of these cases, by name, at ``logits`` depth each with the noise floor beside it."""
        dtype = self._plan.reference_dtype or truth_dtype(checkpoint)
        tested = self._plan.settings_of(checkpoint)
        floor = tested.dtype if tested.depth is Depth.LOGITS else None
        settings = replace(tested, dtype=dtype, engine_args={}, variant=ALONE)
        cache = ReferenceCache(checkpoint, settings)
        known = self._known[checkpoint.name]
        if self._plan.references is not None:
            known |= {
                case.name: given_reference(self._plan.references, checkpoint.name, case) for case in cases
            }
            return known
        asked = tuple(case for case in cases if case.name not in known or _is_gone(known[case.name]))
        captured, found = set(), set()
        for case in asked:
            trace = cache.find(case)
            if trace is not None and _has_floor(trace, cache.folder(case), floor):
                known[case.name] = Reference(trace, cache.folder(case))
                found.add(case.name)
            elif trace is not None:
                captured.add(case.name)
        missing = tuple(case for case in asked if case.name not in found)
        self._say_what_is_cached(checkpoint, len(asked), len(missing))
        if missing:
            self._capture(checkpoint, settings, cache, missing, frozenset(captured), known, floor)
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
        captured_before: frozenset[str],
        known: dict[str, Reference],
        floor: Dtype | None,
    ) -> None:
        job = Job(
            backend=REFERENCE,
            checkpoint=checkpoint,
            settings=settings,
            tasks=tuple(_task(cache, case, captured=case.name in captured_before) for case in cases),
            log=self._part.log(checkpoint.name, "reference"),
            leads=True,
            floor=floor,
            load_timeout=self._plan.load_timeout,
            case_timeout=self._plan.case_timeout,
        )
        name = f"{checkpoint.name}/reference"
        with self._reporter.capturing(f"{checkpoint.name} reference", len(cases)) as progress:

            def captured(task: Task, trace: Trace) -> None:
                case = task.case
                folder = cache.keep(case) if worth_keeping(trace) else cache.draft(case)
                known[case.name] = Reference(trace, folder)
                self._part.add_seconds(f"{name}/capture", sum(trace.seconds.values()))
                progress.captured(case.name, trace.outcome)

            def loaded(seconds: float) -> None:
                self._part.add_seconds(f"{name}/load", seconds)
                progress.loaded(seconds)

            capture(job, captured, loaded)


def _is_gone(reference: Reference) -> bool:
    """Whether the cache threw it away to stay within its limit."""
    return not reference.folder.is_dir()


def _task(cache: ReferenceCache, case: Case, *, captured: bool) -> Task:
    return Task(case, cache.borrow(case) if captured else cache.draft(case), captured=captured)


def _has_floor(trace: Trace, folder: Path, wanted: Dtype | None) -> bool:
    """Whether a cached trace is all that is wanted; a floor that could not be measured is tried again."""
    if wanted is None or trace.outcome is not Outcome.CAPTURED or trace.depth is Depth.TOKENS:
        return True
    floor = read_floor(folder, wanted)
    return floor is not None and not floor.record.problem
