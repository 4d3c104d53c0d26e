"""Rules for the language model's answers: prefill, decode, greedy."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import Chebyshev

from vlm_parity.diagnosis.arrays import fit_scale_factor, open_array_files
from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.schema.engine_setup import DEFAULT_MODE, EntryPoint
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus, LogitEvidence

_ROWS = 8  # enough to tell a rule of the whole head
_CURVE = 7  # the degree of a polynomial that follows a tanh well
_BELOW_BFLOAT16 = 0xFFFF  # the bits of a float32 that a bfloat16 does not have


@register_rule("non-finite outputs", Stage.VISION, Stage.PREFILL, Stage.DECODE)
def explain_non_finite(finding: RuleInput) -> Explanation | None:
    """NaN or infinity on the tested side."""
    if np.isfinite(finding.diff.metrics.get("max_abs", np.inf)):
        return None  # the comparison has seen every number already
    (_, tensors), stage = open_array_files(finding), finding.diff.stage
    if stage not in tensors:
        return None  # a server lists tokens in its place
    rows = tensors.shape(stage)[0]
    bad = [row for row in range(rows) if not np.isfinite(tensors.rows(stage, row, row + 1)).all()]
    if not bad:
        return None
    return 1.0, (
        f"{finding.pair.tested.backend} gives something that is not a number in {len(bad)} of {rows} rows, "
        f"the first of them {bad[0]}: look for an overflow, or for memory that was never written."
    )


@register_rule("logits scaled", Stage.PREFILL, Stage.DECODE)
def explain_scaled_logits(finding: RuleInput) -> Explanation | None:
    """One factor turns the reference's logits into the tested ones, but for noise."""
    rows = _rows(finding)
    if rows is None:
        return None
    ours, theirs = map(_center_rows, rows)
    factor = fit_scale_factor(finding, ours, theirs)
    if factor is None:
        return None
    return 1.0, (
        f"{finding.pair.tested.backend}'s logits are the reference's times {factor:.6g}, as by a "
        f"temperature of {1 / factor:.6g}."
    )


@register_rule("logit softcapping differs", Stage.PREFILL, Stage.DECODE)
def explain_capped_logits(finding: RuleInput) -> Explanation | None:
    """A curve that rises and is not straight turns one side's logits into the other's."""
    rows = _rows(finding)
    if rows is None:
        return None
    ours, theirs = rows
    order = np.argsort(ours, axis=None)
    x, y = ours.ravel()[order], theirs.ravel()[order]
    if np.count_nonzero(np.diff(x)) <= _CURVE:
        return None
    fits = (Chebyshev.fit(x, y, degree) for degree in (1, _CURVE))
    straight, bent = (float(np.square(fit(x) - y).mean()) for fit in fits)
    spread = float(np.var(y - x))
    if spread == 0 or bent > 0.02 * spread or bent > 0.5 * straight:
        return None
    verb = "squeezes" if np.ptp(theirs) < np.ptp(ours) else "does not squeeze"
    return 0.9, (
        f"{finding.pair.tested.backend} {verb} large logits: they reach from {theirs.min():.3g} to "
        f"{theirs.max():.3g}, the reference's from {ours.min():.3g} to {ours.max():.3g}. Look at the soft "
        f"cap of the logits."
    )


@register_rule("logits in lower-precision dtype", Stage.PREFILL, Stage.DECODE)
def explain_low_precision(finding: RuleInput) -> Explanation | None:
    """Every logit is a number of a coarser dtype than the engine is said to compute in."""
    tested = finding.pair.tested
    rows = _rows(finding)
    if tested.environment.dtype != "float32" or rows is None:
        return None
    _, theirs = rows
    coarse = {
        "bfloat16": not (theirs.view(np.uint32) & _BELOW_BFLOAT16).any(),
        "float16": bool((theirs.astype(np.float16).astype(np.float32) == theirs).all()),
    }
    for name, exact in coarse.items():
        if exact:
            return 1.0, (
                f"{tested.backend} is said to compute in {tested.environment.dtype}, but every logit is a "
                f"number of {name}: the head, or all of the model, runs in it."
            )
    return None


@register_rule("differs by engine mode", Stage.VISION, Stage.PREFILL, Stage.DECODE, Stage.GREEDY)
def explain_batch_dependence(finding: RuleInput) -> Explanation | None:
    """The engine was run in another way than alone."""
    tested, default = finding.pair.tested, finding.default
    if tested.mode == DEFAULT_MODE:
        return None
    if default is not None and default.first_divergence is finding.diff.stage:
        return None
    ran = f"{tested.backend} ran in the mode {tested.mode}"
    if default is None:
        return 0.5, f"{ran}. The default mode was not compared: add --mode {DEFAULT_MODE}."
    return 0.9, (
        f"{ran}; in the default mode the same case is at {finding.diff.stage} as in the reference. The answer depends on "
        f"how the request is scheduled, or on what is read from the cache."
    )


@register_rule("language model differs with equal features", Stage.PREFILL)
def explain_language_model(finding: RuleInput) -> Explanation | None:
    """What the language model is given is the same, as far as it was compared; its answer is not."""
    if finding.pair.tested.entry_point is EntryPoint.SERVER:
        return None  # a server does not show what it is given
    given = [finding.stage(stage) for stage in (Stage.INPUT_IDS, Stage.POSITIONS, Stage.VISION)]
    if any(diff.status is DiffStatus.MISMATCH for diff in given):
        return None
    evidence = finding.diff.evidence
    first = ""
    if isinstance(evidence, LogitEvidence):
        over = next(
            (row for row, row_limit_ratios in enumerate(evidence.row_limit_ratios) if row_limit_ratios > 1),
            None,
        )
        if over is not None:
            first = f", from position {evidence.first_position + over} on"
    compared = ", ".join(str(diff.stage) for diff in given if diff.status is DiffStatus.MATCH)
    return 0.6, (
        f"{compared} are the same, and the logits are not{first}: look at attention scale and mask, "
        f"rotary base, norms, activation, added features of deeper layers, and the head."
    )


@register_rule("decode differs with equal prefill", Stage.DECODE)
def explain_decode_only(finding: RuleInput) -> Explanation | None:
    """All prompt positions agree; what goes wrong goes wrong through the cache."""
    if finding.stage(Stage.PREFILL).status is not DiffStatus.MATCH:
        return None
    return 0.7, (
        "The prompt's logits are the same, those of the tokens behind it are not: look at what is written "
        "to and read from the KV cache, at the positions of new tokens, and at the mask while decoding."
    )


@register_rule("greedy tokens differ with equal logits", Stage.GREEDY)
def explain_greedy_only(finding: RuleInput) -> Explanation | None:
    """The logits say one token, the sampler takes another."""
    if finding.stage(Stage.PREFILL).status is not DiffStatus.MATCH:
        return None
    index = int(finding.diff.metrics.get("first_different", 0))
    return 0.8, (
        f"Prompt and forced logits are the same, and yet token {index} is another, by more than noise could "
        f"do: look at the sampler, at penalties and default generation settings, and at logits processors."
    )


def _rows(finding: RuleInput) -> tuple[np.ndarray, np.ndarray] | None:
    """float32 [a few rows, vocabulary] of raw logits of both sides, spread over the sequence; None where
    they have no counterpart or are no numbers.
    """
    stage = finding.diff.stage
    left, right = open_array_files(finding)
    if stage not in right or left.shape(stage) != right.shape(stage):
        return None
    chosen = np.unique(np.linspace(0, left.shape(stage)[0] - 1, _ROWS).astype(int))
    ours, theirs = (np.stack([side.rows(stage, row, row + 1)[0] for row in chosen]) for side in (left, right))
    return (ours, theirs) if np.isfinite(ours).all() and np.isfinite(theirs).all() else None


def _center_rows(rows: np.ndarray) -> np.ndarray:
    """float64: the same rows without the constant that logits leave free."""
    wide: np.ndarray = rows.astype(np.float64)
    wide -= wide.mean(axis=1, keepdims=True)
    return wide
