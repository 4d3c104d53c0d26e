"""Reduction of a run folder to its results."""

from __future__ import annotations

from pathlib import Path

from vlm_parity.changes.comparison import Comparison
from vlm_parity.changes.run_summary import RunSummary, ShardSummary
from vlm_parity.report.entries import ShardEntry, VerdictEntry
from vlm_parity.report.load_run import LoadedRun, load_run
from vlm_parity.schema.record import compute_digest


def read_run_summary(folder: Path) -> RunSummary:
    """Read the results of a run folder; an unreadable record becomes a problem of the run."""
    return summarize_run(load_run(folder))


def summarize_run(run: LoadedRun) -> RunSummary:
    """Return the results of a loaded run."""
    return RunSummary(
        name=run.name,
        origin=f"folder {run.folder}",
        shards=tuple(map(summarize_shard, run.shards)),
        own_problems=tuple(f"Problem: {problem}" for problem in (*run.own_problems, *run.share_problems)),
    )


def summarize_shard(shard: ShardEntry) -> ShardSummary:
    """Return the results of a shard."""
    record, incomplete = shard.record, shard.incomplete_reason
    problems = [f"Shard {shard.name} is incomplete: {incomplete}."] if incomplete else []
    problems += [f"Problem: {problem}" for problem in shard.problems]
    return ShardSummary(
        name=shard.name,
        session=_compute_session(shard),
        started=record.started if record is not None else None,
        finished=record.finished if record is not None else None,
        backends=record.backends if record is not None else (),
        comparisons=tuple(_reduce_entry(entry, shard) for entry in shard.verdicts),
        problems=tuple(problems),
        lock=f"{record.lock.name} {record.lock.digest}" if record is not None and record.lock else "",
        models=tuple(record.models.values()) if record is not None else (),
        seconds=dict(record.seconds) if record is not None else {},
    )


def _compute_session(shard: ShardEntry) -> str:
    if shard.record is None:  # another night may leave the same behind: the time tells the two apart
        verdicts = [entry.verdict.model_dump_json() for entry in shard.verdicts]
        return compute_digest([shard.name, shard.folder.stat().st_mtime_ns, verdicts])
    return compute_digest([shard.record.name, shard.record.started, shard.record.command])


def _reduce_entry(entry: VerdictEntry, shard: ShardEntry) -> Comparison:
    verdict = entry.verdict
    model = shard.record.models.get(verdict.model) if shard.record is not None else None
    findings = shard.fuzz.findings if shard.fuzz is not None else ()
    key = verdict.model, verdict.backend, verdict.case
    is_finding = any((each.model, each.backend, each.case) == key for each in findings)
    return Comparison.of(verdict, model.digest if model is not None else "", is_finding)
