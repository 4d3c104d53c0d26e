"""Targets of benchmarks: ratios of two times, their limits, and the exit code."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from statistics import median
from typing import Literal

MET, MISSED, USAGE = 0, 1, 2
EXIT_CODES = "exit codes: 0 every target is met; 1 a target is missed; 2 usage error, nothing was measured"


def build_parser(docstring: str) -> argparse.ArgumentParser:
    """Build a parser whose help is the docstring of the benchmark, followed by the exit codes."""
    return argparse.ArgumentParser(
        description=docstring, epilog=EXIT_CODES, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def check_target(name: str, ratios: Sequence[float], limit: float, bound: Literal["least", "most"]) -> bool:
    """Print the median of some ratios with its target; return whether the target is met.

    Args:
        name: the ratio in words.
        ratios: one for each repetition.
        limit: the target.
        bound: whether the limit is the least or the most that the median may be.
    """
    middle = median(ratios)
    is_met = middle > limit if bound == "least" else middle < limit
    sign = ">" if bound == "least" else "<"
    spread = f" (from {min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""
    print(f"{name}: {middle:.2f}{spread}, target {sign} {limit:g}: {'met' if is_met else 'NOT met'}")
    return is_met


def get_exit_code(targets: Sequence[bool]) -> int:
    """Return ``MET`` if all targets are met, else ``MISSED``."""
    return MET if all(targets) else MISSED
