"""A run folder read back: its parts, their verdicts, and all that speaks against trusting it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vlm_parity.report.drifts import Drift, find_drifts
from vlm_parity.report.entries import FiledPart, FiledVerdict, compared_stages
from vlm_parity.schema.record import read_record
from vlm_parity.schema.run import Part
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Status, Verdict, VerdictKind
from vlm_parity.util.errors import RecordError

WORST_FIRST = (
    VerdictKind.CRASH,
    VerdictKind.ERROR,
    VerdictKind.INVALID,
    VerdictKind.MISMATCH,
    VerdictKind.FIXED,
    VerdictKind.KNOWN,
    VerdictKind.UNSUPPORTED,
    VerdictKind.MATCH,
    VerdictKind.REFUSED,
)

_LONGEST_PROBLEM = 600


@dataclass(frozen=True)
class Run:
    """All verdicts of one invocation."""

    folder: Path
    parts: tuple[FiledPart, ...]
    problems: tuple[str, ...]
    """Records that are unreadable or contradict themselves."""
    drifts: tuple[Drift, ...] = ()
    """Transformers against itself, for every two environments; keeps nothing from passing."""

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return self.folder.name

    @property
    def verdicts(self) -> tuple[FiledVerdict, ...]:
        """Every verdict, the worst first."""
        every = [filed for part in self.parts for filed in part.verdicts]
        return tuple(sorted(every, key=_triage_order))

    @property
    def incomplete(self) -> tuple[FiledPart, ...]:
        """The parts that fall short of what they set out to do."""
        return tuple(part for part in self.parts if part.shortfall)

    @property
    def passes(self) -> bool:
        """Whether it lets a release through: all verdicts do, all parts are complete, every
        record is readable, and something was compared."""
        return bool(self.parts) and not (
            self.problems or self.incomplete or any(not filed.verdict.kind.passes for filed in self.verdicts)
        )

    @property
    def started(self) -> str | None:
        """When the first part started."""
        return min((part.record.started for part in self.parts if part.record), default=None)

    @property
    def finished(self) -> str | None:
        """When the last part finished; None as long as one has not."""
        ends = [part.record.finished if part.record else None for part in self.parts]
        return max((end for end in ends if end), default=None) if all(ends) else None


def load_run(folder: Path) -> Run:
    """Reads a run folder. What cannot be read becomes a problem of the run, never a gap."""
    folder = folder.resolve()
    problems: list[str] = []
    pages: set[str] = set()
    parts = tuple(
        _load_part(path, pages, problems) for path in sorted(folder.glob("parts/*")) if path.is_dir()
    )
    if not parts:
        problems.append("the run holds no part")
    return Run(folder, parts, tuple(_shortened(problem, folder) for problem in problems), find_drifts(parts))


def _load_part(folder: Path, pages: set[str], problems: list[str]) -> FiledPart:
    record: Part | None = None
    try:
        record = read_record(folder / "part.json", Part)
    except RecordError as problem:
        problems.append(str(problem))
    verdicts = tuple(
        FiledVerdict(folder.name, verdict, _page(folder.name, verdict, pages))
        for verdict in _load_verdicts(folder, problems)
    )
    problems += _duplicates(folder.name, verdicts)
    return FiledPart(folder, record, verdicts)


def _load_verdicts(folder: Path, problems: list[str]) -> Iterator[Verdict]:
    for path in sorted((folder / "verdicts").rglob("*.json")):
        try:
            verdict = read_record(path, Verdict)
        except RecordError as problem:
            problems.append(str(problem))
            continue
        problems += (f"{path}: {contradiction}" for contradiction in _contradictions(verdict))
        yield verdict


def _contradictions(verdict: Verdict) -> Iterator[str]:
    """A verdict must not say more than its stages do."""
    if tuple(diff.stage for diff in verdict.stages) != tuple(Stage):
        yield "does not hold every stage once, in order"
    if verdict.kind == VerdictKind.MATCH and not compared_stages(verdict):
        yield "says match but compared no stage"
    if verdict.kind == VerdictKind.MATCH and any(d.status == Status.MISMATCH for d in verdict.stages):
        yield "says match but holds a stage that does not"
    if verdict.kind == VerdictKind.KNOWN and not verdict.known:
        yield "says known but not by which entry of the ledger"


def _duplicates(part: str, verdicts: Iterable[FiledVerdict]) -> Iterator[str]:
    for title, count in Counter(filed.title for filed in verdicts).items():
        if count > 1:
            yield f"{part}: {count} verdicts for {title}"


def _page(part: str, verdict: Verdict, taken: set[str]) -> str:
    """A file name that is safe on any file system and taken by no other verdict."""
    parts = (part, verdict.model, verdict.label, verdict.case)
    stem = "-".join(re.sub(r"[^A-Za-z0-9._]+", "_", name) for name in parts)[:200]
    names = (f"{stem}{suffix}.html" for suffix in ("", *(f"-{n}" for n in range(2, len(taken) + 3))))
    name = next(name for name in names if name.lower() not in taken)
    taken.add(name.lower())
    return f"cases/{name}"


def _shortened(problem: str, folder: Path) -> str:
    """A problem without the path to the run, so that a report can be handed on."""
    text = problem.replace(f"{folder}/", "")
    return text if len(text) <= _LONGEST_PROBLEM else f"{text[:_LONGEST_PROBLEM]} ..."


def _triage_order(filed: FiledVerdict) -> tuple[int, int, str, str, str, str]:
    verdict = filed.verdict
    stages = list(Stage)
    first = stages.index(verdict.first_divergence) if verdict.first_divergence else len(stages)
    return (
        WORST_FIRST.index(verdict.kind),
        first,
        verdict.model,
        verdict.label,
        verdict.case,
        filed.part,
    )
