"""The traces of an earlier run: judged again without an engine, or taken for the reference of another one."""

from __future__ import annotations

from pathlib import Path

from vlm_parity.capture.stored_trace import StoredTrace
from vlm_parity.schema.case import Case
from vlm_parity.schema.run_layout import REFERENCE_FOLDER
from vlm_parity.schema.trace import RECORD_FILE, read_trace
from vlm_parity.util.errors import MissingTraceError


def load_saved_traces(run: Path, model: str, label: str, case: Case) -> tuple[StoredTrace, StoredTrace]:
    """The reference's trace and the tested one, from whichever part of the run has them; ``label``
    names the backend in its setup.

    Raises:
        MissingTraceError: no part has both.
        RecordError: a trace does not hold what it should.
    """
    for shard in sorted(run.glob("shards/*/traces")) + sorted(run.glob("traces")):
        folders = [shard / model / side / case.name for side in (REFERENCE_FOLDER, label)]
        if all((folder / RECORD_FILE).exists() for folder in folders):
            reference, tested = (StoredTrace(read_trace(folder), folder) for folder in folders)
            return reference, tested
    raise MissingTraceError(
        f"{run}: holds no traces of both sides for model {model}, backend {label}, case {case.name}; "
        "make them with --keep-logits"
    )


def load_saved_reference(shard: Path, model: str, case: Case) -> StoredTrace:
    """The reference's trace that a part of another run holds, made in another environment.

    Raises:
        MissingTraceError: the part has none of this model and this case, or one of another case by that name.
        RecordError: the trace does not hold what it should.
    """
    folder = shard / "traces" / model / REFERENCE_FOLDER / case.name
    if not (folder / RECORD_FILE).exists():
        raise MissingTraceError(
            f"{shard}: holds no trace of the reference for model {model}, case {case.name}; make it with "
            "--backend transformers --keep-logits"
        )
    trace = read_trace(folder)
    if trace.case_digest != case.digest():
        raise MissingTraceError(f"{folder}: is of another case by the name of {case.name}")
    return StoredTrace(trace, folder)
