"""Rules on the outputs of the language model: prefill, decode, greedy."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import Chebyshev

from vlm_parity.diagnosis.arrays import (
    find_low_precision,
    fit_scale_factor,
    matches_expected,
    open_array_files,
)
from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.diff.stages.greedy import OWN_LAG
from vlm_parity.schema.engine_setup import DEFAULT_MODE, EntryPoint
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus, LogitEvidence

_ROWS = 8  # enough to detect a property of the whole head
_CURVE = 7  # degree of a polynomial that approximates tanh well
_FEW_TOKENS = 16
"""The largest number of tokens that count as single ones, out of a vocabulary of many thousands."""
_SHOWN_TOKENS = 4


@register_rule("non-finite outputs", Stage.VISION, Stage.PREFILL, Stage.DECODE, is_general=True)
def explain_non_finite(rule_input: RuleInput) -> Explanation | None:
    """Detect NaN or infinity on the tested side."""
    if _is_finite(rule_input):
        return None
    (_, tensors), stage = open_array_files(rule_input), rule_input.diff.stage
    if stage not in tensors:
        return None  # a server returns a few log-probabilities instead
    rows = tensors.shape(stage)[0]
    non_finite = [row for row in range(rows) if not np.isfinite(tensors.rows(stage, row, row + 1)).all()]
    if not non_finite or _find_masked_tokens(rule_input):
        return None
    return 1.0, (
        f"{rule_input.pair.tested.backend} returns NaN or infinity in {len(non_finite)} of {rows} rows, "
        f"first in row {non_finite[0]}: check for an overflow or uninitialized memory."
    )


@register_rule("tokens masked in the logits", Stage.PREFILL, Stage.DECODE)
def explain_masked_tokens(rule_input: RuleInput) -> Explanation | None:
    """Detect a few tokens with the logit -inf; all other values are finite."""
    masked = _find_masked_tokens(rule_input)
    if not masked:
        return None
    return 1.0, (
        f"{rule_input.pair.tested.backend} gives the logit -inf to {_name_tokens(rule_input, masked)}, which "
        "the reference does not: check suppressed and bad words, and logits processors."
    )


@register_rule("logits of single tokens differ", Stage.PREFILL, Stage.DECODE)
def explain_single_tokens(rule_input: RuleInput) -> Explanation | None:
    """Detect logits that differ for the same few tokens in every row, and for no others."""
    rows = _rows(rule_input)
    if rows is None:
        return None
    reference, tested = (side.astype(np.float64) for side in rows)
    distance = tested - reference
    distance -= np.median(distance, axis=1, keepdims=True)  # logits are defined up to a constant
    largest = np.abs(distance).max(axis=0)
    tokens = np.sort(np.argsort(largest)[-_FEW_TOKENS:])
    tokens = tokens[largest[tokens] > largest.max() / 100]
    if not 0 < len(tokens) < min(_FEW_TOKENS, distance.shape[1] // 2):
        return None
    expected = reference + np.median(tested - reference, axis=1, keepdims=True)
    expected[:, tokens] = tested[:, tokens]
    if not matches_expected(rule_input, reference, expected, tested):
        return None
    return 0.95, (
        f"Only the logits of {_name_tokens(rule_input, tokens.tolist())} differ, in every row that was read: "
        "check the rows of the head that belong to them, and padding or tying of the head."
    )


@register_rule("logits scaled", Stage.PREFILL, Stage.DECODE)
def explain_scaled_logits(rule_input: RuleInput) -> Explanation | None:
    """Detect logits that are the reference's times one factor, up to noise."""
    rows = _rows(rule_input)
    if rows is None:
        return None
    reference, tested = map(_center_rows, rows)
    factor = fit_scale_factor(rule_input, reference, tested)
    if factor is None:
        return None
    return 1.0, (
        f"The logits of {rule_input.pair.tested.backend} are those of the reference times {factor:.6g}, "
        f"like a temperature of {1 / factor:.6g}."
    )


@register_rule("logit softcapping differs", Stage.PREFILL, Stage.DECODE)
def explain_capped_logits(rule_input: RuleInput) -> Explanation | None:
    """Detect logits that are a nonlinear function of the reference's."""
    rows = _rows(rule_input)
    if rows is None:
        return None
    reference, tested = rows
    order = np.argsort(reference, axis=None)
    x, y = reference.ravel()[order], tested.ravel()[order]
    if np.count_nonzero(np.diff(x)) <= _CURVE:
        return None
    fits = (Chebyshev.fit(x, y, degree) for degree in (1, _CURVE))
    straight, bent = (float(np.square(fit(x) - y).mean()) for fit in fits)
    spread = float(np.var(y - x))
    if spread == 0 or bent > 0.02 * spread or bent > 0.5 * straight:
        return None
    verb = "compresses" if np.ptp(tested) < np.ptp(reference) else "does not compress"
    return 0.9, (
        f"{rule_input.pair.tested.backend} {verb} large logits: they range from {tested.min():.3g} to "
        f"{tested.max():.3g}, and from {reference.min():.3g} to {reference.max():.3g} in the reference. "
        "Check the softcapping of the logits."
    )


@register_rule("logits in lower-precision dtype", Stage.PREFILL, Stage.DECODE)
def explain_low_precision(rule_input: RuleInput) -> Explanation | None:
    """Detect logits that are representable in a lower-precision dtype than the engine's."""
    tested = rule_input.pair.tested
    rows = _rows(rule_input)
    if tested.environment.dtype != "float32" or rows is None:
        return None
    dtype = find_low_precision(rows[1])
    if dtype is None:
        return None
    return 1.0, (
        f"{tested.backend} is configured to compute in {tested.environment.dtype}, but every logit "
        f"is a {dtype} value: the head or the whole model runs in {dtype}."
    )


@register_rule(
    "differs by engine mode", Stage.VISION, Stage.PREFILL, Stage.DECODE, Stage.GREEDY, is_general=True
)
def explain_batch_dependence(rule_input: RuleInput) -> Explanation | None:
    """Detect a mode of the engine whose default mode agrees with the reference."""
    tested, default = rule_input.pair.tested, rule_input.default
    if tested.mode == DEFAULT_MODE:
        return None
    if default is not None and default.get_difference(rule_input.diff.stage) is not None:
        return None
    setup = f"{tested.backend} ran in the mode {tested.mode}"
    if default is None:
        return 0.5, f"{setup}. The default mode was not compared: add --mode {DEFAULT_MODE}."
    return 0.9, (
        f"{setup}; in the default mode the same case matches the reference at {rule_input.diff.stage}. The "
        "output depends on the scheduling of the request, or on the contents of the cache."
    )


@register_rule("language model differs with equal features", Stage.PREFILL, is_general=True)
def explain_language_model(rule_input: RuleInput) -> Explanation | None:
    """Detect different logits for equal inputs of the language model, as far as these were compared."""
    if rule_input.pair.tested.entry_point is EntryPoint.SERVER:
        return None  # the inputs in a server are unknown
    inputs = [rule_input.stage(stage) for stage in (Stage.INPUT_IDS, Stage.POSITIONS, Stage.VISION)]
    if any(diff.status is DiffStatus.MISMATCH for diff in inputs) and not rule_input.diff.is_partial:
        return None
    evidence = rule_input.diff.evidence
    first = ""
    suspects = "attention scale and mask, rotary base, norms, activation, features added in deeper layers"
    if isinstance(evidence, LogitEvidence):
        over = next((row for row, ratio in enumerate(evidence.row_limit_ratios) if ratio > 1), None)
        if over is not None:
            first = f" from position {evidence.first_position + over} on"
        if over and evidence.first_position == 0:
            first += ", and not at position 0, where causal attention has a single key"
            suspects = "attention scale, mask and rotary base first, then features added in deeper layers"
    compared = (
        "the ids up to there"
        if rule_input.diff.is_partial
        else ", ".join(str(diff.stage) for diff in inputs if diff.status is DiffStatus.MATCH)
    )
    return 0.6, f"{compared} match, but the logits differ{first}: check {suspects}, and the head."


@register_rule("decode differs with equal prefill", Stage.DECODE, is_general=True)
def explain_decode_only(rule_input: RuleInput) -> Explanation | None:
    """Detect different logits of new tokens after an equal prefill."""
    if rule_input.stage(Stage.PREFILL).status is not DiffStatus.MATCH:
        return None
    return 0.7, (
        "The logits of the prompt match, but those of the generated tokens differ: check writes to and reads "
        "from the KV cache, the positions of new tokens, and the attention mask during decoding."
    )


@register_rule("greedy token behind in the engine's own logits", Stage.GREEDY)
def explain_own_lag(rule_input: RuleInput) -> Explanation | None:
    """Detect a greedy token that the engine's own logits do not rank first."""
    lag = rule_input.diff.metrics.get(OWN_LAG)
    if lag is None:
        return None
    index = int(rule_input.diff.metrics["first_different"])
    return 1.0, (
        f"Greedy token {index} is {lag:.3g} below the best of the engine's own logits after the same tokens: "
        "check the sampler, penalties, default generation settings and logits processors."
    )


@register_rule("greedy tokens differ with equal logits", Stage.GREEDY, is_general=True)
def explain_greedy_only(rule_input: RuleInput) -> Explanation | None:
    """Detect a greedy token that differs although the logits match."""
    if rule_input.stage(Stage.PREFILL).status is not DiffStatus.MATCH or OWN_LAG in rule_input.diff.metrics:
        return None
    index = int(rule_input.diff.metrics.get("first_different", 0))
    return 0.8, (
        f"The logits of the prompt and of forced tokens match, but greedy token {index} differs by more than "
        "noise explains: check the sampler, penalties, default generation settings and logits processors."
    )


def _is_finite(rule_input: RuleInput) -> bool:
    """Return whether all values are finite: the comparison has covered every one."""
    return bool(np.isfinite(rule_input.diff.metrics.get("max_abs", np.inf)))


def _find_masked_tokens(rule_input: RuleInput) -> list[int]:
    """Return the few tokens with the logit -inf in some row; empty if other values are not finite, too."""
    if _is_finite(rule_input):
        return []
    stage = rule_input.diff.stage
    _, tensors = open_array_files(rule_input)
    if stage not in tensors:
        return []
    masked: set[int] = set()
    for row in range(tensors.shape(stage)[0]):
        (logits,) = tensors.rows(stage, row, row + 1)
        wrong = np.flatnonzero(~np.isfinite(logits))
        if len(wrong) > _FEW_TOKENS or not np.isneginf(logits[wrong]).all():
            return []
        masked.update(wrong.tolist())
    return sorted(masked) if len(masked) <= min(_FEW_TOKENS, tensors.shape(stage)[1] // 2) else []


def _name_tokens(rule_input: RuleInput, tokens: list[int]) -> str:
    """Format some tokens: ``2 tokens: A (8), cat (11)``."""
    shown = ", ".join(rule_input.pair.run(token, 1) for token in tokens[:_SHOWN_TOKENS])
    more = ", and more" if len(tokens) > _SHOWN_TOKENS else ""
    return f"{len(tokens)} {'token' if len(tokens) == 1 else 'tokens'}: {shown}{more}"


def _rows(rule_input: RuleInput) -> tuple[np.ndarray, np.ndarray] | None:
    """Read raw logits of both sides, float32 [a few rows, vocabulary], evenly spaced over the sequence.

    The result is None if the shapes differ, or a value is not finite.
    """
    stage = rule_input.diff.stage
    left, right = open_array_files(rule_input)
    if stage not in right or left.shape(stage) != right.shape(stage):
        return None
    indices = np.unique(np.linspace(0, left.shape(stage)[0] - 1, _ROWS).astype(int))
    reference, tested = (
        np.stack([side.rows(stage, row, row + 1)[0] for row in indices]) for side in (left, right)
    )
    return (reference, tested) if np.isfinite(reference).all() and np.isfinite(tested).all() else None


def _center_rows(rows: np.ndarray) -> np.ndarray:
    """Subtract the mean of each row, in float64: logits are defined up to a constant."""
    wide: np.ndarray = rows.astype(np.float64)
    wide -= wide.mean(axis=1, keepdims=True)
    return wide
