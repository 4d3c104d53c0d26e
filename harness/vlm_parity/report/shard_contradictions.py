"""Contradictions of a shard: within its record, between it and a verdict, and between two shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from vlm_parity.report.entries import ShardEntry, VerdictEntry
from vlm_parity.schema.case import Case
from vlm_parity.schema.fuzz_findings import FUZZ_FILE
from vlm_parity.schema.max_media import replace_max_media
from vlm_parity.schema.media_source import MediaFile
from vlm_parity.schema.run import Shard
from vlm_parity.schema.run_layout import get_verdict_path, is_path_component
from vlm_parity.schema.verdict import Verdict


def find_shard_contradictions(folder: Path, record: Shard) -> Iterator[str]:
    """Yield the contradictions within the record of a shard.

    Args:
        folder: of the shard; merging may have added a number to its name.
        record: the content of its ``shard.json``.
    """
    stem, _, number = folder.name.rpartition("-")
    if record.name != folder.name and not (number.isdecimal() and record.name == stem):
        yield f"is named {record.name!r}, which is not its folder"
    start, end = _parse_time(record.started), _parse_time(record.finished)
    if start is None or (record.finished is not None and end is None):
        yield f"has no time from {record.started!r} to {record.finished!r}"
    if start is not None and end is not None and end < start:
        yield f"finished at {record.finished}, before it started at {record.started}"
    for name, case in record.cases.items():
        if name != case.name:
            yield f"holds the case {case.name!r} as {name!r}"
    for name, model in record.models.items():
        if name != model.name:
            yield f"holds the model {model.name!r} as {name!r}"


def find_verdict_contradictions(folder: Path, record: Shard, path: Path, verdict: Verdict) -> Iterator[str]:
    """Yield the contradictions between a verdict and its shard.

    Args:
        folder: of the shard.
        record: of the shard.
        path: the file of the verdict.
        verdict: its content.
    """
    names = (verdict.model, verdict.label, f"{verdict.case}.json")
    if not all(map(is_path_component, names)):
        yield "has names that are no names of files"
    elif path != get_verdict_path(folder, verdict):
        yield f"holds the verdict of {get_verdict_path(folder, verdict).relative_to(folder)}"
    for field, known in (("case", record.cases), ("model", record.models), ("backend", record.backends)):
        if getattr(verdict, field) not in known:
            yield f"is on the {field} {getattr(verdict, field)!r}, which the shard does not have"
    case = record.cases.get(verdict.case)
    if case is not None and _is_other_case(case, verdict):
        yield "compares another case than the shard's of that name"
    if verdict.known and not _quotes_issues(verdict.known, record.issue_descriptions.values()):
        yield "names a known issue that the shard did not apply"


def find_duplicates(name: str, verdicts: Iterable[VerdictEntry]) -> Iterator[str]:
    """Yield the comparisons on which a shard holds several verdicts."""
    for title, count in Counter(entry.title for entry in verdicts).items():
        if count > 1:
            yield f"{name}: {count} verdicts for {title}"


def find_fuzz_contradictions(shard: ShardEntry) -> Iterator[str]:
    """Yield the contradictions between the record of the fuzzer and its shard."""
    examples = shard.fuzz.examples if shard.fuzz is not None else 0
    if shard.record is not None and shard.record.examples > examples:
        yield f"{shard.name}: {shard.record.examples} fuzzed examples, but {FUZZ_FILE} has {examples}"
    verdicts = {(entry.verdict.model, entry.verdict.backend, entry.verdict.case) for entry in shard.verdicts}
    for finding in shard.fuzz.findings if shard.fuzz is not None else ():
        if (finding.model, finding.backend, finding.case) not in verdicts:
            yield f"{shard.name}: no verdict on the finding {finding.case!r} in {FUZZ_FILE}"


def find_repeated_shards(shards: Iterable[ShardEntry]) -> Iterator[str]:
    """Yield the shards that another shard repeats: the same session would count twice."""
    sessions: dict[tuple[str, str, str], str] = {}
    for shard in shards:
        if shard.record is None:
            continue
        session = shard.record.name, shard.record.started, shard.record.command
        if session in sessions:
            yield f"{shard.name}: the same session as {sessions[session]}"
        sessions.setdefault(session, shard.name)


def _parse_time(text: str | None) -> datetime | None:
    """Return a time with its zone; None for any other text."""
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return time if time.tzinfo else None


def _is_other_case(case: Case, verdict: Verdict) -> bool:
    if any(isinstance(part.source, MediaFile) for _, part in case.media):
        return False  # its digest depends on files outside the run
    budget = verdict.tested.encoder_budget
    is_named = case.max_size_modality is not None and budget is not None
    actual = replace_max_media(case, budget) if is_named and budget is not None else case
    return actual.digest() != verdict.tested.case_digest


def _quotes_issues(text: str, descriptions: Iterable[str]) -> bool:
    """Return whether a text consists of descriptions of known issues, one or more lines each."""
    for description in sorted(descriptions, key=len, reverse=True):
        text = text.replace(description, "")
    return not text.strip()
