"""Rules for the values of pixels: the order of the channels, and how they are normalised."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from vlm_parity.diagnosis.affine import fit_affine, fit_channels, format_line, is_affine
from vlm_parity.diagnosis.pixels import CHANNELS, PixelPair, describe_media, estimate_norm
from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.schema.trace import Stage

_NAMES = "RGB"


@register_rule("channels swapped", Stage.MEDIA)
def explain_swapped_channels(finding: RuleInput) -> Explanation | None:
    """Every channel is another one of the reference, but for mean and standard deviation."""

    def tell(both: PixelPair) -> str | None:
        found = fit_channels(both)
        if found is None or fit_affine(both, *found) is not None:
            return None
        ours, theirs = found
        for order in permutations(range(CHANNELS)):
            if list(order) != sorted(order) and fit_affine(both, ours[list(order)], theirs) is not None:
                given = "".join(_NAMES[channel] for channel in order)
                return f"{both.name} has its channels in the order {given} in {finding.pair.tested.backend}"
        return None

    return describe_media(finding, 1.0, tell)


@register_rule("pixels normalized twice", Stage.MEDIA)
def explain_double_normalization(finding: RuleInput) -> Explanation | None:
    """Mean and standard deviation are applied to what is normalised already."""

    def tell(both: PixelPair) -> str | None:
        found, known = fit_channels(both), estimate_norm(both.reference, both.ours)
        if found is None or known is None:
            return None
        for scale, again in ((1.0, "normalised"), (1 / 255, "rescaled and normalised")):
            numbers = scale / known.std, -known.mean / known.std
            if is_affine(both, *found, *numbers):
                return (
                    f"The values of {both.name} in {finding.pair.tested.backend} are the reference's {again} "
                    f"once more: {format_line(*numbers)}"
                )
        return None

    return describe_media(finding, 1.0, tell)


@register_rule("pixels not normalized", Stage.MEDIA)
def explain_missing_normalization(finding: RuleInput) -> Explanation | None:
    """The values are bytes, or bytes over 255."""

    def tell(both: PixelPair) -> str | None:
        found, known = fit_channels(both), estimate_norm(both.reference, both.ours)
        if found is None or known is None:
            return None
        for scale, over in ((1.0, " over 255"), (255.0, "")):
            if is_affine(both, *found, scale * known.std, scale * known.mean):
                return (
                    f"The values of {both.name} in {finding.pair.tested.backend} reach from "
                    f"{both.theirs.min():.3g} to {both.theirs.max():.3g}, as grey levels{over} do: mean and "
                    f"standard deviation are not applied"
                )
        return None

    return describe_media(finding, 1.0, tell)


@register_rule("pixel normalization constants differ", Stage.MEDIA)
def explain_normalization(finding: RuleInput) -> Explanation | None:
    """One factor and one offset a channel turn the reference's values into the tested ones."""

    def tell(both: PixelPair) -> str | None:
        found = fit_channels(both)
        fit = None if found is None else fit_affine(both, *found)
        if (
            found is None
            or fit is None
            or is_affine(both, *found, np.ones((CHANNELS, 1)), np.zeros((CHANNELS, 1)))
        ):
            return None
        return (
            f"The values of {both.name} in {finding.pair.tested.backend} are the reference's, "
            f"{format_line(*fit)}: another mean, standard deviation or rescale factor"
        )

    return describe_media(finding, 0.8, tell)
