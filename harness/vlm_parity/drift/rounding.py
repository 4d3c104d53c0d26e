"""Bounds on the difference of two references that rounding explains; beyond them, transformers has
changed.
"""

from __future__ import annotations

from dataclasses import dataclass

from vlm_parity.schema.trace import Stage


@dataclass(frozen=True)
class RoundingBound:
    """Bound on the root mean square difference of a row, with its source."""

    rms: float
    source: str


_STORED = 2**-24
"""The relative rounding of a float32, in which all arrays are stored."""
_LARGEST_LOGIT = 32
_LOGITS = {
    "float64": 2 * _LARGEST_LOGIT * _STORED,
    "float32": 2 * 1.5e-5,
    "float16": 2 * 8.0e-3,
    "bfloat16": 2 * 6.4e-2,
}
"""Bounds on log-probabilities by dtype. Both references round: the coarser dtypes by the measured distance of
transformers from its float64 run, float64 by its storage alone."""
_FEATURES = {"float64": 4 * _STORED, "float32": 2 * 5.3e-6, "float16": 2 * 5.1e-3, "bfloat16": 2 * 4.9e-2}
"""Bounds on vision features by dtype, relative to their root mean square; as above."""
_MEDIA = 8 * _STORED
"""Bound on media inputs, relative to their root mean square: a few float32 operations in a different
order."""


def compute_rounding_bound(stage: Stage, dtypes: tuple[str, str]) -> RoundingBound:
    """Return the bound at a numeric stage for references that ran in these dtypes."""
    if stage is Stage.MEDIA:
        return RoundingBound(_MEDIA, "a few float32 operations in a different order")
    table = _FEATURES if stage is Stage.VISION else _LOGITS
    coarser = max(dtypes, key=table.__getitem__)
    source = "both are stored in float32" if coarser == "float64" else f"twice the error of {coarser}"
    return RoundingBound(table[coarser], source)
