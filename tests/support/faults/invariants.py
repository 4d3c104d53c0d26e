"""The invariants of the harness, whatever happens to it. Each function yields sentences on violations."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.faults.commands import Process
from tests.support.faults.processes import wait_for_processes
from tests.support.faults.sandbox import SHARD, Sandbox
from vlm_parity.report.html import REPORT_FILE
from vlm_parity.report.load_run import load_run
from vlm_parity.schema.run_layout import SHARD_RECORD
from vlm_parity.schema.verdict import VerdictKind

Verdicts = Mapping[str, Any]
"""Verdicts as JSON by model, backend and case, without times and passes.

A fault in one attempt or pass over a case costs that pass: the verdict is the same, and says so.
"""
_EXIT_S = 5.0
"""Seconds in which the workers of a session that was killed have to end."""
_RED = {VerdictKind.CRASH, VerdictKind.INVALID, VerdictKind.ERROR, VerdictKind.HARNESS_ERROR}
"""Verdicts on cases whose worker or files had a fault."""
_PYTEST_END = re.compile(r"^\d+ \w+.* in [\d.]+s.*$", re.MULTILINE)
"""The last line of pytest; a traceback above it may be the captured output of a test."""
_TRACEBACK = "Traceback (most recent call last)"
_MADE = re.compile(rf"rename \S+ \S+/shards/{SHARD}/verdicts/(\S+)\.json")


@dataclass(frozen=True)
class Undisturbed:
    """The results of a command without a fault."""

    code: int | None
    verdicts: Verdicts
    had_shard: bool
    """True if the shard existed before the command, which replaces it."""


def read_verdicts(run: Path) -> Verdicts:
    """Return the readable verdicts of the sessions' shard."""
    entries = (entry for entry in load_run(run).verdicts if entry.shard == SHARD)
    verdicts = {}
    for entry in entries:
        verdict = entry.verdict.model_dump(mode="json")
        for side in ("reference", "tested"):
            del verdict[side]["seconds"]
        del verdict["attempts"], verdict["repetitions"]
        verdicts[f"{verdict['model']}/{verdict['backend']}/{verdict['case']}"] = verdict
    return verdicts


def find_lost_verdicts(process: Process, run: Path, undisturbed: Undisturbed) -> Iterator[str]:
    """Find verdicts that were made and are not readable, or neither right nor red because of the fault."""
    verdicts = read_verdicts(run)
    for name in _list_made(process):
        verdict = verdicts.get(name)
        if verdict is None:
            yield f"the verdict on {name} was made and is lost"
        elif verdict != undisturbed.verdicts[name] and verdict["kind"] not in _RED:
            yield f"the verdict on {name} is {verdict['kind']} now"


def _list_made(process: Process) -> list[str]:
    """Return the names of the verdicts that were written, once or with each pass."""
    matches = (
        _MADE.match(operation)
        for number, operation in enumerate(process.control.operations)
        if number != process.control.acted_at  # that one was not done
    )
    return list(dict.fromkeys(made[1] for made in matches if made is not None))


def find_unseen_passes(code: int | None, run: Path, undisturbed: Undisturbed) -> Iterator[str]:
    """Find verdicts, runs and commands that pass without a comparison."""
    verdicts = read_verdicts(run)
    for name, verdict in verdicts.items():
        expected = undisturbed.verdicts.get(name)
        if VerdictKind(verdict["kind"]).passes and verdict != expected:
            yield f"{name} passes as {verdict['kind']}, undisturbed: {expected and expected['kind']}"
    if verdicts == undisturbed.verdicts and undisturbed.code == 0:
        return
    if code == 0:
        yield "the exit code is 0 with missing or other verdicts"
    if not undisturbed.had_shard and not (run / "shards" / SHARD / SHARD_RECORD).exists():
        return  # the run and its report are what they were before
    if load_run(run).passes:
        yield "the run passes with missing or other verdicts"
    if (run / REPORT_FILE).is_file() and json.loads((run / REPORT_FILE).read_text())["run"]["passes"]:
        yield "report.json passes with missing or other verdicts"


def find_unhealed(process: Process, run: Path, undisturbed: Undisturbed) -> Iterator[str]:
    """Find differences of a second run from an undisturbed one: it heals."""
    if process.code != undisturbed.code:
        yield f"the second run ended with {process.code}, not {undisturbed.code}: {process.output[-400:]}"
    verdicts = read_verdicts(run)
    for name in sorted({*verdicts, *undisturbed.verdicts}):
        if verdicts.get(name) != undisturbed.verdicts.get(name):
            yield f"the verdict on {name} differs in the second run"


def find_foreign_changes(sandbox: Sandbox, before: Mapping[str, str]) -> Iterator[str]:
    """Find changes outside the harness's files."""
    after = sandbox.describe_foreign_files()
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            change = "is new" if name not in before else "is gone" if name not in after else "has changed"
            yield f"{name} {change}"


def find_left_processes(sandbox: Sandbox) -> Iterator[str]:
    """Find processes that are left."""
    for pid, words in wait_for_processes(sandbox.folder, _EXIT_S).items():
        yield f"process {pid} still runs: {words}"


def find_abrupt_ends(process: Process) -> Iterator[str]:
    """Find a command that does not end in time, or in an exception, its own or one of pytest."""
    if process.hung:
        yield "the command did not end in time"
    if process.command.largest_file is not None:
        return  # its output was cut off, too, which fails
    end = _PYTEST_END.split(process.output)[-1]
    if _TRACEBACK in end or "INTERNALERROR" in process.output:
        yield f"an exception was not caught: {end[-800:]}"


def find_tracebacks(process: Process) -> Iterator[str]:
    """Find tracebacks: damaged files are named in a sentence."""
    if _TRACEBACK in process.output:
        yield f"a traceback was printed: {process.output[-800:]}"
