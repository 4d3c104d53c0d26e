"""One line of a benchmark's table: what was measured, what is aimed at, and whether it is met."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Literal


def print_aim(name: str, ratios: Sequence[float], aim: float, bound: Literal["least", "most"]) -> None:
    """Judges the median of ``ratios`` by ``aim``, the least or the most that it may be."""
    middle = median(ratios)
    met = middle > aim if bound == "least" else middle < aim
    sign = ">" if bound == "least" else "<"
    spread = f" (from {min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""
    print(f"{name}: {middle:.2f}{spread}, aim {sign} {aim:g}: {'met' if met else 'NOT met'}")
