"""Loading of a run folder: its shards, their verdicts, and the problems of its records."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from vlm_parity.report.contradictions import find_contradictions
from vlm_parity.report.drifts import EnvironmentDrift, find_drifts
from vlm_parity.report.entries import ShardEntry, VerdictEntry
from vlm_parity.report.page_names import make_page_name
from vlm_parity.report.run_files import list_shard_folders, list_verdict_files
from vlm_parity.report.shard_contradictions import (
    find_duplicates,
    find_fuzz_contradictions,
    find_repeated_shards,
    find_shard_contradictions,
    find_verdict_contradictions,
)
from vlm_parity.report.share_problems import find_share_problems
from vlm_parity.schema.fuzz_findings import FUZZ_FILE, FuzzRecord
from vlm_parity.schema.record import read_record
from vlm_parity.schema.run import Shard
from vlm_parity.schema.run_layout import SHARD_RECORD
from vlm_parity.schema.shard_folder import is_held
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Verdict, VerdictKind
from vlm_parity.util.errors import RecordError

SEVERITY_ORDER = (
    VerdictKind.HARNESS_ERROR,
    VerdictKind.CRASH,
    VerdictKind.ERROR,
    VerdictKind.INVALID,
    VerdictKind.UNSTABLE,
    VerdictKind.MISMATCH,
    VerdictKind.FIXED,
    VerdictKind.KNOWN,
    VerdictKind.UNSUPPORTED,
    VerdictKind.MATCH,
    VerdictKind.REFUSED,
)

PAGE_FOLDER = "cases"
"""The folder of the verdicts' pages in a run."""
_MAX_PROBLEM_LENGTH = 600


@dataclass(frozen=True)
class LoadedRun:
    """All shards and verdicts of one run."""

    folder: Path
    shards: tuple[ShardEntry, ...]
    own_problems: tuple[str, ...]
    """Problems that belong to none of its shards."""
    share_problems: tuple[str, ...] = ()
    """Shares of a plan that are missing, repeated, or from another commit, plan or environment."""
    drifts: tuple[EnvironmentDrift, ...] = ()
    """Transformers against itself, for every pair of environments; without effect on the result."""

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return self.folder.name

    @property
    def problems(self) -> tuple[str, ...]:
        """Records that are unreadable or contradictory."""
        return (*(problem for shard in self.shards for problem in shard.problems), *self.own_problems)

    @property
    def verdicts(self) -> tuple[VerdictEntry, ...]:
        """All verdicts, the worst first."""
        entries = [entry for shard in self.shards for entry in shard.verdicts]
        return tuple(sorted(entries, key=_triage_order))

    @property
    def incomplete(self) -> tuple[ShardEntry, ...]:
        """The shards that are incomplete."""
        return tuple(shard for shard in self.shards if shard.incomplete_reason)

    @property
    def passes(self) -> bool:
        """True if every verdict passes, every shard is there and complete, and every record is readable."""
        return self.passes_so_far and not self.share_problems

    @property
    def passes_so_far(self) -> bool:
        """True if the run passes but for the shares of its plan that it does not hold."""
        return bool(self.shards) and not (
            self.problems or self.incomplete or any(not entry.verdict.kind.passes for entry in self.verdicts)
        )

    @property
    def started(self) -> str | None:
        """The start of the first shard."""
        return min((shard.record.started for shard in self.shards if shard.record), default=None)

    @property
    def finished(self) -> str | None:
        """The end of the last shard; None if a shard has not finished."""
        ends = [shard.record.finished if shard.record else None for shard in self.shards]
        return max((end for end in ends if end), default=None) if all(ends) else None


def load_run(folder: Path) -> LoadedRun:
    """Load a run folder. An unreadable record becomes a problem of the run; it is never skipped silently."""
    folder = folder.resolve()
    problems: list[str] = []
    pages: set[str] = set()
    shards = tuple(_load_shard(path, pages, folder) for path in list_shard_folders(folder, problems))
    problems += find_repeated_shards(shards)
    if not shards:
        is_older = (folder / "parts").is_dir()
        problems.append(
            "the run holds parts/ instead of shards/: an earlier version of vlm-parity wrote it; use that one"
            if is_older
            else "the run holds no shard"
        )
    return LoadedRun(
        folder,
        shards,
        tuple(_shorten_problem(problem, folder) for problem in problems),
        tuple(_shorten_problem(problem, folder) for problem in find_share_problems(shards)),
        find_drifts(shards),
    )


def _load_shard(folder: Path, pages: set[str], run: Path) -> ShardEntry:
    problems: list[str] = []
    record = _load_record(folder, problems)
    verdicts = []
    for path in list_verdict_files(folder, problems):
        try:
            verdict = read_record(path, Verdict)
        except RecordError as error:
            problems.append(str(error))
            continue
        contradictions = [*find_contradictions(verdict)]
        if record is not None:
            contradictions += find_verdict_contradictions(folder, record, path, verdict)
        problems += (f"{path}: {contradiction}" for contradiction in contradictions)
        verdicts.append(VerdictEntry(folder.name, verdict, _name_page(folder.name, verdict, pages), path))
    problems += find_duplicates(folder.name, verdicts)
    shard = ShardEntry(folder, record, tuple(verdicts), is_held(folder), _load_fuzz(folder, problems))
    problems += find_fuzz_contradictions(shard)
    return replace(shard, problems=tuple(_shorten_problem(problem, run) for problem in problems))


def _load_fuzz(folder: Path, problems: list[str]) -> FuzzRecord | None:
    """Return what the fuzzer found and whether it came to its end; None if the shard has no such record."""
    path = folder / FUZZ_FILE
    if not path.exists() and not path.is_symlink():
        return None
    if path.is_symlink():
        problems.append(f"{path}: a symbolic link, which is not followed")
        return None
    try:
        return read_record(path, FuzzRecord)
    except RecordError as error:
        problems.append(str(error))
        return None


def _load_record(folder: Path, problems: list[str]) -> Shard | None:
    path = folder / SHARD_RECORD
    if path.is_symlink():
        problems.append(f"{path}: a symbolic link, which is not followed")
        return None
    try:
        record = read_record(path, Shard)
    except RecordError as error:
        problems.append(str(error))
        return None
    problems += (f"{path}: {contradiction}" for contradiction in find_shard_contradictions(folder, record))
    return record


def _name_page(shard: str, verdict: Verdict, taken: set[str]) -> str:
    words = (shard, verdict.model, verdict.label, verdict.case)
    return f"{PAGE_FOLDER}/{make_page_name(words, taken)}"


def _shorten_problem(problem: str, folder: Path) -> str:
    """Remove the path of the run, so a report does not depend on its location, and shorten long texts."""
    text = problem.replace(f"{folder}/", "")
    return text if len(text) <= _MAX_PROBLEM_LENGTH else f"{text[:_MAX_PROBLEM_LENGTH]} ..."


def _triage_order(entry: VerdictEntry) -> tuple[int, int, str, str, str, str]:
    verdict = entry.verdict
    stages = list(Stage)
    first = stages.index(verdict.first_divergence) if verdict.first_divergence else len(stages)
    return (
        SEVERITY_ORDER.index(verdict.kind),
        first,
        verdict.model,
        verdict.label,
        verdict.case,
        entry.shard,
    )
