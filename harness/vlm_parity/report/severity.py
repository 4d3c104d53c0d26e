"""Severity of a verdict: its effect on the output, beside the stage at which it begins."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from vlm_parity.changes.comparison import get_size
from vlm_parity.report.entries import get_diff
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import LogitEvidence, Verdict

_LOGIT_STAGES = (Stage.PREFILL, Stage.DECODE)


@dataclass(frozen=True)
class Severity:
    """Effect of a verdict on the output of the engine on its own values, not on given ones."""

    greedy_changes: bool | None
    """True if a greedy token differs beyond a tie; None if the tokens were not compared."""
    largest_kl: float | None
    """The largest Kullback-Leibler divergence of a position, in nats, NaN as infinity; None without full rows
    of logits."""
    limit_ratio: float | None
    """The largest distance as a fraction of its limit; None if no stage with a limit was judged."""


def measure_severity(verdict: Verdict) -> Severity:
    """Measure the severity of a verdict, from the evidence that it stores."""
    return Severity(
        greedy_changes=get_diff(verdict, Stage.GREEDY).differs,
        largest_kl=max(_list_divergences(verdict), default=None),
        limit_ratio=max(_list_limit_ratios(verdict), default=None),
    )


def _list_divergences(verdict: Verdict) -> Iterator[float]:
    for stage in _LOGIT_STAGES:
        evidence = get_diff(verdict, stage).evidence
        if isinstance(evidence, LogitEvidence):
            yield from (math.inf if math.isnan(value) else value for value in evidence.kl)


def _list_limit_ratios(verdict: Verdict) -> Iterator[float]:
    """Yield the ratios of the judged stages; a consequence counts only on given values."""
    for diff in verdict.stages:
        judged = diff.conditioned if diff.conditioned is not None and diff.is_compared_on_given else diff
        size = get_size(judged)
        if size is not None and judged.differs is not None and not judged.consequence:
            yield size
