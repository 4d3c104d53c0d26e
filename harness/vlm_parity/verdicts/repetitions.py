"""Repeated passes over a case that differs: equality with the first pass, and the effect on the verdict."""

from __future__ import annotations

import hashlib
from pathlib import Path

from vlm_parity.diff.compare import compare_stages
from vlm_parity.diff.pair import TracePair
from vlm_parity.schema.noise_floor import read_noise_floor
from vlm_parity.schema.repetition import Repetition, describe_repetitions, is_unstable
from vlm_parity.schema.trace import RECORD_FIELDS, Outcome, Stage, Trace
from vlm_parity.schema.trace_arrays import open_arrays
from vlm_parity.schema.verdict import DiffStatus, Verdict, VerdictKind

FRONT_END = frozenset({Stage.PROMPT, Stage.INPUT_IDS, Stage.SPANS, Stage.MEDIA})
"""The stages for which the front end is enough: the engine does not run again."""
_ROWS = 256
"""Rows that are read at a time: a row of logits has the size of the vocabulary."""


def needs_repetition(verdict: Verdict, passes: int) -> bool:
    """Return whether another pass over a case is due.

    Args:
        verdict: on the passes until now, without known issues.
        passes: the number of passes over a case that differs.
    """
    is_captured = verdict.reference.outcome is verdict.tested.outcome is Outcome.CAPTURED
    differs = verdict.kind in {VerdictKind.MISMATCH, VerdictKind.UNSTABLE}
    return (
        is_captured
        and differs
        and verdict.first_divergence is not None
        and 1 + len(verdict.repetitions) < passes
    )


def digest_stage(trace: Trace, folder: Path, stage: Stage) -> str:
    """Return a digest of the bits of a trace at one stage.

    Args:
        trace: the record.
        folder: holds the arrays.
        stage: of the trace; one that it lacks has the digest of nothing.

    Raises:
        RecordError: the arrays are not readable.
    """
    digest = hashlib.sha256()
    if stage in RECORD_FIELDS:
        digest.update(trace.model_dump_json(include={RECORD_FIELDS[stage]}).encode())
    names = sorted(name for name in trace.arrays if name == stage or name.startswith(f"{stage}."))
    with open_arrays(folder) as arrays:
        for name in names if arrays is not None else ():
            assert arrays is not None
            shape = arrays.shape(name)
            digest.update(f"{name} {shape}".encode())
            for start in range(0, shape[0], _ROWS):
                digest.update(arrays.rows(name, start, min(start + _ROWS, shape[0])).tobytes())
    return digest.hexdigest()


def compare_repetition(
    verdict: Verdict, repeated: Trace, reference_folder: Path, repeated_folder: Path, digest: str
) -> Repetition:
    """Compare one more pass with the reference, up to the first stage that differed, and with the first pass.

    Args:
        verdict: on the first pass.
        repeated: the trace of the pass.
        reference_folder: as for ``decide_verdict``.
        repeated_folder: holds the arrays of the repeated trace.
        digest: of the first pass at its first stage that differs.

    Raises:
        RecordError: a trace is damaged.
    """
    first = verdict.first_divergence
    assert first is not None
    if repeated.outcome is not Outcome.CAPTURED:
        return Repetition(outcome=repeated.outcome, message=repeated.message.partition("\n")[0])
    floor = read_noise_floor(reference_folder, repeated.environment.dtype)
    with open_arrays(reference_folder) as left, open_arrays(repeated_folder) as right:
        pair = TracePair(verdict.reference, repeated, left, right, floor)
        for diff in compare_stages(pair):  # no stage behind the first one is read
            if diff.status is DiffStatus.NOT_COMPARED and diff.stage is first:
                return Repetition(outcome=Outcome.INVALID, message=diff.message)
            if diff.status is DiffStatus.MISMATCH or diff.stage is first:
                break
    differs = diff.status is DiffStatus.MISMATCH
    return Repetition(
        outcome=Outcome.CAPTURED,
        first_divergence=diff.stage if differs else None,
        is_identical=digest_stage(repeated, repeated_folder, first) == digest,
    )


def add_repetition(verdict: Verdict, repetition: Repetition) -> Verdict:
    """Add one more pass to a verdict: a difference that comes and goes is ``unstable``."""
    first = verdict.first_divergence
    assert first is not None
    repetitions = (*verdict.repetitions, repetition)
    changes: dict[str, object] = {"repetitions": repetitions}
    if is_unstable(first, repetitions):
        changes |= {"kind": VerdictKind.UNSTABLE, "reason": describe_repetitions(first, repetitions)}
    return verdict.model_copy(update=changes)
