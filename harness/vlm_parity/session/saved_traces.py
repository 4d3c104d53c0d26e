"""Traces of an earlier run: compared again without an engine, or used as references of another run."""

from __future__ import annotations

from pathlib import Path

from vlm_parity.capture.stored_trace import StoredTrace
from vlm_parity.schema.case import Case
from vlm_parity.schema.manifest import MANIFEST_FILE, check_manifest
from vlm_parity.schema.noise_floor import FLOORS
from vlm_parity.schema.record import read_record
from vlm_parity.schema.run import ModelInfo, Shard
from vlm_parity.schema.run_layout import REFERENCE_FOLDER, SHARD_RECORD
from vlm_parity.schema.trace import RECORD_FILE, read_trace
from vlm_parity.util.errors import MissingTraceError, RecordError
from vlm_parity.verdicts.trace_checks import find_span_problem


def load_saved_traces(run: Path, model: str, label: str, case: Case) -> tuple[StoredTrace, StoredTrace]:
    """Return the traces of the reference and of the backend under test from the first shard that has both.

    Args:
        run: the run folder.
        model: name of the model.
        label: name of the backend in its setup.
        case: the case.

    Raises:
        MissingTraceError: no shard has both.
        RecordError: a trace does not fit its schema.
    """
    for shard in sorted(run.glob("shards/*/traces")) + sorted(run.glob("traces")):
        folders = [shard / model / side / case.name for side in (REFERENCE_FOLDER, label)]
        if all((folder / RECORD_FILE).exists() for folder in folders):
            reference, tested = map(_read_saved, folders)
            return reference, tested
    raise MissingTraceError(
        f"{run}: holds no traces of both sides for model {model}, backend {label}, case {case.name}; "
        "make them with --keep-logits"
    )


def find_conditioned_trace(tested: StoredTrace, label: str) -> StoredTrace | None:
    """Return the trace on given values that the same session kept beside one on the engine's own values.

    Args:
        tested: the trace on the engine's own values.
        label: the name that replaces the engine's label in its path.

    Raises:
        RecordError: the trace does not fit its schema.
    """
    folder = tested.folder.parents[1] / label / tested.folder.name
    return _read_saved(folder) if (folder / RECORD_FILE).exists() else None


def load_saved_reference(shard: Path, model: str, case: Case) -> StoredTrace:
    """Return a reference trace from a shard that another environment wrote.

    Raises:
        MissingTraceError: the shard has none of this model and case, or one of another case of that name.
        RecordError: the trace does not fit its schema.
    """
    folder = shard / "traces" / model / REFERENCE_FOLDER / case.name
    if not (folder / RECORD_FILE).exists():
        raise MissingTraceError(
            f"{shard}: holds no trace of the reference for model {model}, case {case.name}; make it with "
            "--backend transformers --keep-logits"
        )
    saved = _read_saved(folder)
    if saved.trace.case_digest != case.digest():
        raise MissingTraceError(f"{folder}: is a trace of another case named {case.name}")
    return saved


def load_saved_model(run: Path, model: str) -> ModelInfo:
    """Return the identity of a model from the first shard that has it, else its name alone."""
    for path in (*sorted(run.glob(f"shards/*/{SHARD_RECORD}")), run / SHARD_RECORD):
        try:
            record = read_record(path, Shard)
        except RecordError:
            continue  # the traces may be intact
        if model in record.models:
            return record.models[model]
    return ModelInfo(name=model, family=model, source="saved traces")


def _read_saved(folder: Path) -> StoredTrace:
    """Read a trace that may come from anywhere.

    Raises:
        RecordError: it does not fit its schema, its spans do not fit its prompt, or a file was changed since
            the trace was kept.
    """
    for kept in (folder, *sorted((folder / FLOORS).glob("*/"))):
        if (kept / MANIFEST_FILE).exists():
            check_manifest(kept)
    trace = read_trace(folder)
    problem = find_span_problem(trace)
    if problem:
        raise RecordError(f"{folder / RECORD_FILE}: {problem}")
    return StoredTrace(trace, folder)
