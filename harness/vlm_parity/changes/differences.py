"""Differences between two results of a comparison: stages, causes, sizes, modules."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from vlm_parity.changes.comparison import Comparison, LocatedModule, get_size
from vlm_parity.changes.policy import LEAST_MARGIN
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.verdict import StageResult, VerdictKind


@dataclass(frozen=True)
class Aspect:
    """One respect in which the differences of two results are not the same."""

    text: str
    is_worse: bool
    """False if it can only be an improvement."""


@dataclass(frozen=True)
class Remark:
    """A change that does not affect the class of a comparison."""

    rule: str
    text: str


def list_aspects(before: Comparison, after: Comparison, factor: float) -> Iterator[Aspect]:
    """Yield the respects in which the differences changed: stages, causes, sizes, modules."""
    earlier, later = before.differences, after.differences
    judged_before, judged_after = before.judged_stages, after.judged_stages
    for stage, diff in later.items():
        if stage in earlier:
            yield from _compare_stage(before, after, stage, (earlier[stage], diff), factor)
            continue
        is_uncovered = diff is not None and stage not in judged_before
        suffix = ", which the baseline did not judge" if is_uncovered else ""
        yield Aspect(f"differs at {stage}{suffix}", is_worse=True)
    for stage, diff in earlier.items():
        if stage not in later:
            is_lost = diff is not None and stage not in judged_after
            suffix = ", which was not judged" if is_lost else ""
            yield Aspect(f"no longer differs at {stage}{suffix}", is_worse=is_lost)
    if after.kind is VerdictKind.UNSTABLE and before.kind is not VerdictKind.UNSTABLE and earlier:
        yield Aspect("comes and goes now", is_worse=True)
    yield from _compare_modules(before, after)


def list_remarks(before: Comparison, after: Comparison, factor: float) -> Iterator[Remark]:
    """Yield what does not affect the class: margins, known issues, the largest medium, unstable results."""
    margins = before.margins
    grown = [
        f"{stage} matches at {_format_sizes(margins[stage], size)}"
        for stage, size in after.margins.items()
        if stage in margins and size >= LEAST_MARGIN and size > factor * margins[stage]
    ]
    if grown:
        yield Remark("smaller margin", ", ".join(grown))
    if before.kind is VerdictKind.UNSTABLE and after.kind is not VerdictKind.UNSTABLE:
        yield Remark(
            "no longer unstable", "it differed in some passes of the baseline, so it may do so again"
        )
    if (before.kind, after.kind) == (VerdictKind.KNOWN, VerdictKind.MISMATCH):
        yield Remark("no longer known", "a known issue in the baseline, a mismatch in the run")
    media = before.largest_medium, after.largest_medium
    if all(media) and media[0] != media[1]:
        yield Remark("another largest medium", "the engine reserves for another medium than in the baseline")


def _compare_stage(
    before: Comparison,
    after: Comparison,
    stage: str,
    diffs: tuple[StageResult | None, StageResult | None],
    factor: float,
) -> Iterator[Aspect]:
    causes = before.get_cause(stage), after.get_cause(stage)
    if causes[0] != causes[1]:
        shown = " -> ".join(cause or "no rule explains it" for cause in causes)
        yield Aspect(f"another cause at {stage}: {shown}", is_worse=True)
    former, size = map(get_size, diffs)
    if former is None or size is None or former == size:  # also if both are infinite
        return
    if size > factor * former:
        yield Aspect(f"larger at {stage}: {_format_sizes(former, size)}", is_worse=True)
    elif former > factor * size:
        yield Aspect(f"smaller at {stage}: {_format_sizes(former, size)}", is_worse=False)


def _format_sizes(before: float, after: float) -> str:
    return f"{_format_size(before)} -> {_format_size(after)} of the limit"


def _format_size(size: float) -> str:
    if size == math.inf:
        return "infinity"
    return f"{size:.3g}" if size < 1000 else f"{size:,.0f}"  # noqa: PLR2004 (no exponent)


def _compare_modules(before: Comparison, after: Comparison) -> Iterator[Aspect]:
    """Yield the located modules that changed; runs of which one located nothing cannot be compared."""
    earlier, later = _get_first_modules(before), _get_first_modules(after)
    for condition, module in later.items():
        former = earlier.get(condition)
        if former is not None and former.description != module.description:
            yield Aspect(f"another module: {former.description} -> {module.description}", is_worse=True)


def _get_first_modules(comparison: Comparison) -> dict[Condition | None, LocatedModule]:
    return {module.condition: module for module in comparison.modules}
