"""Comparison of the logits of two traces, position by position; used by prefill and decode."""

from __future__ import annotations

import numpy as np

from vlm_parity.diff.logit_distance import LogitDistances, compute_logit_distances
from vlm_parity.diff.noise_tolerance import NoiseRatios, compute_noise_ratios, compute_rms
from vlm_parity.diff.pair import TracePair, build_match, build_mismatch, build_not_compared, format_table
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.trace_arrays import ArrayFile
from vlm_parity.schema.verdict import Candidate, LogitEvidence, StageDiff
from vlm_parity.util.numeric import compute_log_softmax
from vlm_parity.util.text import escape_invisible

_TOP = 5
LOGIT_ROUNDING = 2.0**-24
"""The rounding of a logit of 1 as it is stored, in float32."""


def diff_logits(stage: Stage, pair: TracePair, first_position: int, expected: int) -> StageDiff:
    """Compare the arrays named after the stage.

    Args:
        stage: ``prefill`` or ``decode``, also the name of the arrays.
        pair: the two traces.
        first_position: the position of the first row in the sequence.
        expected: the number of rows that each side must have.
    """
    left, right = pair.reference_tensors, pair.tested_tensors
    assert left is not None, "compare_stages checks it"
    assert right is not None, "compare_stages checks it"
    if expected == 0:
        return build_not_compared(stage, "no position to compare: the case generates only one token")
    shapes = left.shape(stage), right.shape(stage)
    if shapes[0] != shapes[1] or shapes[0][0] != expected:
        text = (
            f"{stage} logits have different shapes: {expected} rows expected, reference {list(shapes[0])}, "
            f"{pair.tested.backend} {list(shapes[1])}"
        )
        return build_mismatch(stage, text, {"positions": expected})
    distances = compute_logit_distances(
        lambda start, stop: left.rows(stage, start, stop),
        lambda start, stop: right.rows(stage, start, stop),
        *shapes[0],
    )
    return _diff_rows(stage, pair, distances, first_position, left, right)


def _diff_rows(
    stage: Stage,
    pair: TracePair,
    distances: LogitDistances,
    first_position: int,
    left: ArrayFile,
    right: ArrayFile,
) -> StageDiff:
    noise = pair.noise(stage)
    assert pair.floor is not None, "compare_stages checks it"
    assert noise is not None, "compare_stages checks it"
    ratios = compute_noise_ratios(distances.rms, distances.max_abs, noise, LOGIT_ROUNDING)
    worst = int(ratios.row_limit_ratios.argmax())
    evidence = LogitEvidence(
        first_position=first_position,
        rule=pair.floor.source,
        row_limit_ratios=tuple(ratios.row_limit_ratios.tolist()),
        noise=tuple(ratios.noise.tolist()),
        rms=tuple(distances.rms.tolist()),
        max_abs=tuple(distances.max_abs.tolist()),
        kl=tuple(distances.kl.tolist()),
        top1_equal=tuple((distances.reference_top1 == distances.tested_top1).tolist()),
        worst_position=first_position + worst,
        reference_top=_top(pair, left.rows(stage, worst, worst + 1)[0]),
        tested_top=_top(pair, right.rows(stage, worst, worst + 1)[0]),
    )
    metrics: dict[str, float | int] = {
        "positions": len(distances.max_abs),
        **ratios.metrics,
        "max_abs": float(distances.max_abs.max()),
        "rms": compute_rms(distances.rms),
        "kl_max": float(distances.kl.max()),
        "top1_equal": sum(evidence.top1_equal) / len(evidence.top1_equal),
        "worst_position": evidence.worst_position,
        "vocabulary": left.shape(stage)[1],
        "reference_not_finite": int((~distances.reference_finite).sum()),
    }
    if ratios.limit_ratio <= 1:
        return build_match(stage, metrics, evidence)
    return build_mismatch(stage, _message(stage, pair, ratios, metrics, evidence), metrics, evidence)


def _top(pair: TracePair, row: np.ndarray) -> tuple[Candidate, ...]:
    logprobs = compute_log_softmax(row)
    best = np.argpartition(-logprobs, _TOP - 1)[:_TOP] if len(logprobs) > _TOP else np.arange(len(logprobs))
    best = best[np.lexsort((best, -logprobs[best]))]
    return tuple(Candidate(id=int(i), text=pair.token(int(i)), logprob=float(logprobs[i])) for i in best)


def _message(
    stage: Stage,
    pair: TracePair,
    ratios: NoiseRatios,
    metrics: dict[str, float | int],
    evidence: LogitEvidence,
) -> str:
    head = (
        f"{stage} log-probabilities differ at {metrics['over_limit']} of {metrics['positions']} positions\n"
        f"{ratios.worst}; the floor is {evidence.rule}\n"
        f"worst at position {evidence.worst_position}; max abs {metrics['max_abs']:.3g}, "
        f"rms {metrics['rms']:.3g}, largest KL {metrics['kl_max']:.3g}, "
        f"same top-1 at {metrics['top1_equal']:.1%}\n"
        f"top {_TOP} at position {evidence.worst_position}:\n"
    )
    rows = [
        (str(rank), *_cells(a), *_cells(b))
        for rank, (a, b) in enumerate(zip(evidence.reference_top, evidence.tested_top, strict=True), 1)
    ]
    return head + format_table(("", "reference", "logprob", pair.tested.backend, "logprob"), rows)


def _cells(candidate: Candidate) -> tuple[str, str]:
    return f"{escape_invisible(candidate.text)} ({candidate.id})", f"{candidate.logprob:.6f}"
