"""Rules on audio: the mel features that the audio tower receives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.diff.noise_tolerance import compute_rms
from vlm_parity.diff.stages.media import MediumPair, pair_media
from vlm_parity.schema.trace import Stage

FEATURES = "input_features"
_REST = 0.05
"""The largest part of a difference that an explanation may leave: nothing but rounding."""
_MAX_SHIFT = 8  # mel frames
_FLAT = 1e-6  # a smaller standard deviation is silence
_Describe = Callable[[str, np.ndarray, np.ndarray], str | None]
"""Describes one audio by its name and both sides, float64 [mel frames, mel bins]."""


@register_rule("audio length differs", Stage.MEDIA)
def explain_length(rule_input: RuleInput) -> Explanation | None:
    """Detect another number of mel frames."""

    def describe(name: str, reference: np.ndarray, tested: np.ndarray) -> str | None:
        if len(reference) == len(tested):
            return None
        ratio, backend = len(tested) / max(len(reference), 1), rule_input.pair.tested.backend
        return (
            f"{name} has {len(tested)} mel frames in {backend} and {len(reference)} in the reference "
            f"({ratio:.4g} times as many): check resampling, padding and the end of the audio"
        )

    return _explain(rule_input, 0.9, describe)


@register_rule("audio shifted", Stage.MEDIA)
def explain_shift(rule_input: RuleInput) -> Explanation | None:
    """Detect equal mel frames that are some frames earlier or later."""

    def describe(name: str, reference: np.ndarray, tested: np.ndarray) -> str | None:
        if reference.shape != tested.shape or len(reference) <= 4 * _MAX_SHIFT:
            return None
        middle = slice(_MAX_SHIFT, -_MAX_SHIFT)
        inside = tested[middle]
        untouched = compute_rms(reference[middle] - inside)
        shifts = [shift for shift in range(-_MAX_SHIFT, _MAX_SHIFT + 1) if shift]
        rests = {shift: compute_rms(np.roll(reference, shift, 0)[middle] - inside) for shift in shifts}
        shift = min(rests, key=lambda each: rests[each])
        if rests[shift] > _REST * untouched:
            return None
        return (
            f"The mel frames of {name} are {abs(shift)} frames {'later' if shift > 0 else 'earlier'} in "
            f"{rule_input.pair.tested.backend}: check padding and the centering of the first window"
        )

    return _explain(rule_input, 0.9, describe)


@register_rule("mel normalization differs", Stage.MEDIA)
def explain_normalization(rule_input: RuleInput) -> Explanation | None:
    """Detect mel features that are the reference's with one factor and one offset."""

    def describe(name: str, reference: np.ndarray, tested: np.ndarray) -> str | None:
        if reference.shape != tested.shape or min(reference.std(), tested.std()) < _FLAT:
            return None
        factor, offset = np.polyfit(reference.ravel(), tested.ravel(), 1)
        rest = compute_rms(factor * reference + offset - tested)
        if rest > _REST * compute_rms(reference - tested):
            return None
        return (
            f"The mel features of {name} in {rule_input.pair.tested.backend} are those of the reference "
            f"times {factor:.4g} plus {offset:.4g}: check gain, logarithm and normalization"
        )

    return _explain(rule_input, 0.9, describe)


@register_rule("mel features differ", Stage.MEDIA, is_general=True)
def explain_features(rule_input: RuleInput) -> Explanation | None:
    """Describe the difference in numbers, whatever its cause."""

    def describe(name: str, reference: np.ndarray, tested: np.ndarray) -> str | None:
        if reference.shape != tested.shape:
            return f"The mel features of {name} have the shapes {reference.shape} and {tested.shape}"
        distance, backend = np.abs(reference - tested), rule_input.pair.tested.backend
        frames = (distance.max(axis=1) > 0).nonzero()[0]
        if not len(frames):
            return None
        return (
            f"{len(frames)} of {len(reference)} mel frames of {name} differ in {backend}, from {frames[0]} "
            f"to {frames[-1]}, by at most {distance.max():.3g}"
        )

    return _explain(rule_input, 0.1, describe)


def _explain(rule_input: RuleInput, confidence: float, describe: _Describe) -> Explanation | None:
    """Explain the audio that differs by the first one that a rule describes."""
    media = [item for item in pair_media(rule_input.pair) if item.differs and _has_features(item)]
    sentences = [sentence for item in media if (sentence := describe(item.name, *_read(item))) is not None]
    if not sentences:
        return None
    return confidence * (1 if len(sentences) == len(media) else 0.6), f"{sentences[0]}."


def _has_features(item: MediumPair) -> bool:
    return all(side is not None and FEATURES in side.medium.arrays for side in (item.reference, item.tested))


def _read(item: MediumPair) -> tuple[np.ndarray, np.ndarray]:
    assert item.reference is not None
    assert item.tested is not None
    reference, tested = (side.array(FEATURES).astype(np.float64) for side in (item.reference, item.tested))
    return reference, tested
