"""Rules for the values of pixels: the order of the channels, and how they are normalised."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from vlm_parity.diagnosis.affine import affine, channels, line, on_line
from vlm_parity.diagnosis.pixels import CHANNELS, Both, normalisation, told
from vlm_parity.diagnosis.registry import Explanation, Finding, rule
from vlm_parity.schema.trace import Stage

_NAMES = "RGB"


@rule("channels swapped", Stage.MEDIA)
def swapped(finding: Finding) -> Explanation | None:
    """Every channel is another one of the reference, but for mean and standard deviation."""

    def tell(both: Both) -> str | None:
        found = channels(both)
        if found is None or affine(both, *found) is not None:
            return None
        ours, theirs = found
        for order in permutations(range(CHANNELS)):
            if list(order) != sorted(order) and affine(both, ours[list(order)], theirs) is not None:
                given = "".join(_NAMES[channel] for channel in order)
                return f"{both.name} has its channels in the order {given} in {finding.pair.tested.backend}"
        return None

    return told(finding, 1.0, tell)


@rule("pixels normalized twice", Stage.MEDIA)
def twice(finding: Finding) -> Explanation | None:
    """Mean and standard deviation are applied to what is normalised already."""

    def tell(both: Both) -> str | None:
        found, known = channels(both), normalisation(both.reference, both.ours)
        if found is None or known is None:
            return None
        for scale, again in ((1.0, "normalised"), (1 / 255, "rescaled and normalised")):
            numbers = scale / known.std, -known.mean / known.std
            if on_line(both, *found, *numbers):
                return (
                    f"The values of {both.name} in {finding.pair.tested.backend} are the reference's {again} "
                    f"once more: {line(*numbers)}"
                )
        return None

    return told(finding, 1.0, tell)


@rule("pixels not normalized", Stage.MEDIA)
def not_at_all(finding: Finding) -> Explanation | None:
    """The values are bytes, or bytes over 255."""

    def tell(both: Both) -> str | None:
        found, known = channels(both), normalisation(both.reference, both.ours)
        if found is None or known is None:
            return None
        for scale, over in ((1.0, " over 255"), (255.0, "")):
            if on_line(both, *found, scale * known.std, scale * known.mean):
                return (
                    f"The values of {both.name} in {finding.pair.tested.backend} reach from "
                    f"{both.theirs.min():.3g} to {both.theirs.max():.3g}, as grey levels{over} do: mean and "
                    f"standard deviation are not applied"
                )
        return None

    return told(finding, 1.0, tell)


@rule("pixel normalization constants differ", Stage.MEDIA)
def otherwise(finding: Finding) -> Explanation | None:
    """One factor and one offset a channel turn the reference's values into the tested ones."""

    def tell(both: Both) -> str | None:
        found = channels(both)
        fit = None if found is None else affine(both, *found)
        if (
            found is None
            or fit is None
            or on_line(both, *found, np.ones((CHANNELS, 1)), np.zeros((CHANNELS, 1)))
        ):
            return None
        return (
            f"The values of {both.name} in {finding.pair.tested.backend} are the reference's, "
            f"{line(*fit)}: another mean, standard deviation or rescale factor"
        )

    return told(finding, 0.8, tell)
