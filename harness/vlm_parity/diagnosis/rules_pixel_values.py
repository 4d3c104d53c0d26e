"""Rules on pixel values: the order of the channels and normalization."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from vlm_parity.diagnosis.affine import fit_affine, fit_channels, format_line, is_affine
from vlm_parity.diagnosis.pixels import (
    CHANNELS,
    PixelPair,
    compute_levels,
    describe_media,
    estimate_norm,
)
from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.schema.trace import Stage

_NAMES = "RGB"
_LIMITED = 16, 219
"""Black, and white minus black, in a limited range: ITU-R BT.601."""
_RANGE_ROUNDING = 1.05
"""One gray level, with a margin for float32 rounding."""


@register_rule("channels swapped", Stage.MEDIA)
def explain_swapped_channels(rule_input: RuleInput) -> Explanation | None:
    """Detect channels in a different order, whatever their mean and standard deviation."""

    def describe(pair: PixelPair) -> str | None:
        found = fit_channels(pair)
        if found is None or fit_affine(pair, *found) is not None:
            return None
        reference, tested = found
        for order in permutations(range(CHANNELS)):
            if list(order) != sorted(order) and fit_affine(pair, reference[list(order)], tested) is not None:
                names = "".join(_NAMES[channel] for channel in order)
                return (
                    f"{pair.name} has its channels in the order {names} in {rule_input.pair.tested.backend}"
                )
        return None

    return describe_media(rule_input, 1.0, describe)


@register_rule("pixels normalized twice", Stage.MEDIA)
def explain_double_normalization(rule_input: RuleInput) -> Explanation | None:
    """Detect mean and standard deviation applied to normalized values."""

    def describe(pair: PixelPair) -> str | None:
        channels, norm = fit_channels(pair), estimate_norm(pair.reference, pair.reference_values)
        if channels is None or norm is None:
            return None
        for scale, operation in ((1.0, "normalized"), (1 / 255, "rescaled and normalized")):
            line = scale / norm.std, -norm.mean / norm.std
            if is_affine(pair, *channels, *line):
                return (
                    f"The values of {pair.name} in {rule_input.pair.tested.backend} are those of the "
                    f"reference, {operation} a second time: {format_line(*line)}"
                )
        return None

    return describe_media(rule_input, 1.0, describe)


@register_rule("pixels not normalized", Stage.MEDIA)
def explain_missing_normalization(rule_input: RuleInput) -> Explanation | None:
    """Detect values that are bytes, or bytes divided by 255."""

    def describe(pair: PixelPair) -> str | None:
        channels, norm = fit_channels(pair), estimate_norm(pair.reference, pair.reference_values)
        if channels is None or norm is None:
            return None
        for scale, divisor in ((1.0, " divided by 255"), (255.0, "")):
            if is_affine(pair, *channels, scale * norm.std, scale * norm.mean):
                return (
                    f"Mean and standard deviation are not applied: the values of {pair.name} in "
                    f"{rule_input.pair.tested.backend} are gray levels{divisor}, from "
                    f"{pair.tested_values.min():.3g} to {pair.tested_values.max():.3g}"
                )
        return None

    return describe_media(rule_input, 1.0, describe)


@register_rule("color range differs", Stage.MEDIA)
def explain_color_range(rule_input: RuleInput) -> Explanation | None:
    """Detect gray levels from 16 to 235 on one side, and from 0 to 255 on the other (ITU-R BT.601)."""

    def describe(pair: PixelPair) -> str | None:
        levels = compute_levels(pair)
        if levels is None:
            return None
        full, limited = levels
        for wide, narrow, side in (
            (full, limited, rule_input.pair.tested.backend),
            (limited, full, "the reference"),
        ):
            rest = np.abs(wide * _LIMITED[1] / 255 + _LIMITED[0] - narrow).max()
            if rest <= _RANGE_ROUNDING and np.abs(wide - narrow).max() > _RANGE_ROUNDING:
                return (
                    f"The gray levels of {pair.name} go from 16 to 235 in {side}, and from 0 to 255 on the "
                    "other side: a limited range is not expanded, or a full one is compressed"
                )
        return None

    return describe_media(rule_input, 0.95, describe)


@register_rule("pixel normalization constants differ", Stage.MEDIA)
def explain_normalization(rule_input: RuleInput) -> Explanation | None:
    """Detect values that are the reference's with a factor and an offset per channel."""

    def describe(pair: PixelPair) -> str | None:
        found = fit_channels(pair)
        fit = None if found is None else fit_affine(pair, *found)
        if (
            found is None
            or fit is None
            or is_affine(pair, *found, np.ones((CHANNELS, 1)), np.zeros((CHANNELS, 1)))
        ):
            return None
        return (
            f"The values of {pair.name} in {rule_input.pair.tested.backend} are those of the reference, "
            f"{format_line(*fit)}: mean, standard deviation or rescale factor differ"
        )

    return describe_media(rule_input, 0.8, describe)
