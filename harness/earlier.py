"""The traces of an earlier run, to be judged again without an engine."""

from __future__ import annotations

from pathlib import Path

from harness.capture.references import Reference
from harness.case import Case
from harness.part import REFERENCE
from harness.trace import RECORD_FILE, read_trace


class NoTrace(Exception):
    """The earlier run lacks a trace; the message says which, and how to make it."""


def earlier_traces(run: Path, model: str, way: str, case: Case) -> tuple[Reference, Reference]:
    """The reference's trace and the tested one, from whichever part of the run has them; ``way`` is the
    backend with its variant.

    Raises:
        NoTrace: no part has both.
        UnreadableRecord: a trace does not hold what it should.
    """
    for part in sorted(run.glob("parts/*/traces")) + sorted(run.glob("traces")):
        folders = [part / model / side / case.name for side in (REFERENCE, way)]
        if all((folder / RECORD_FILE).exists() for folder in folders):
            reference, tested = (Reference(read_trace(folder), folder) for folder in folders)
            return reference, tested
    raise NoTrace(
        f"{run}: holds no traces of both sides for model {model}, backend {way}, case {case.name}; "
        "make them with --keep-logits"
    )
