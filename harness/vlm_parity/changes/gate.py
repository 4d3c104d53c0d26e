"""The gate: a policy that decides on the changes from a baseline to a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from vlm_parity.changes.classify import Change, ChangeClass
from vlm_parity.changes.groups import format_counts, format_list, group_changes


class Level(StrEnum):
    """Effect of a reason."""

    FAILURE = "failure"
    WARNING = "warning"


@dataclass(frozen=True)
class Reason:
    """A rule of the policy that applies to a run or to some of its comparisons."""

    level: Level
    rule: str
    """The class of the changes, or the rule on the run as a whole."""
    text: str
    """One line on it, with the comparisons."""
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True)
class GateResult:
    """The decision on a run."""

    changes: tuple[Change, ...]
    reasons: tuple[Reason, ...]
    """Failures first."""

    @property
    def failures(self) -> tuple[Reason, ...]:
        """The reasons for which the run fails."""
        return tuple(reason for reason in self.reasons if reason.level is Level.FAILURE)

    @property
    def warnings(self) -> tuple[Reason, ...]:
        """The reasons that do not fail the run."""
        return tuple(reason for reason in self.reasons if reason.level is Level.WARNING)

    @property
    def passes(self) -> bool:
        """True if no reason is a failure."""
        return not self.failures

    @property
    def sentence(self) -> str:
        """The decision in one sentence."""
        count = len(self.warnings)
        suffix = f" ({count} {'warning' if count == 1 else 'warnings'})" if count else ""
        if self.passes:
            return f"The gate passes: {format_counts(self.changes)}{suffix}."
        first, *others = self.failures
        more = f"; and {len(others)} more {'reason' if len(others) == 1 else 'reasons'}" if others else ""
        text = " ".join(first.text.split()).removesuffix(".")
        return f"The gate fails: {first.rule}: {text}{more}{suffix}."


def decide_gate(
    changes: Iterable[Change],
    run_problems: Iterable[str] = (),
    baseline_problems: Iterable[str] = (),
) -> GateResult:
    """Apply the policy.

    Args:
        changes: of all comparisons, from the baseline to the run.
        run_problems: the reasons why the run is incomplete or unreadable.
        baseline_problems: the same of the baseline.
    """
    changes = tuple(changes)
    reasons = [*_list_change_reasons(changes)]
    reasons += _list_problems(Level.FAILURE, "run problem", run_problems)
    if all(change.baseline is None for change in changes):
        reasons.append(Reason(Level.FAILURE, "empty baseline", "the baseline holds no comparison"))
    reasons += _list_problems(Level.WARNING, "baseline problem", baseline_problems)
    reasons += _list_retries(changes)
    return GateResult(changes, tuple(sorted(reasons, key=lambda reason: reason.level is Level.WARNING)))


def get_level(change: Change) -> Level | None:
    """Return the effect of the class of a change under the policy; None if it has none."""
    if change.is_worse:
        is_known = _is_known_difference(change) and not _loses_stages(change)
        return Level.WARNING if is_known else Level.FAILURE
    is_uncompared = change.kind is ChangeClass.NOT_COMPARED and change.comparison.is_failing
    return Level.WARNING if is_uncompared else None


def _list_problems(level: Level, rule: str, problems: Iterable[str]) -> Iterator[Reason]:
    texts = list(problems)
    if texts:
        yield Reason(level, rule, format_list(texts))


def _list_retries(changes: tuple[Change, ...]) -> Iterator[Reason]:
    """Yield a warning about comparisons of which the first attempt failed."""
    retried = [change for change in changes if change.run is not None and change.run.retry_note]
    if retried:
        texts = [f"{change.title} ({change.comparison.retry_note})" for change in retried]
        yield Reason(Level.WARNING, "run again", format_list(texts), tuple(retried))


def _loses_stages(change: Change) -> bool:
    """Return whether a stage that the baseline judged was not judged in the run."""
    before, after = change.baseline, change.run
    return (
        before is not None and after is not None and not set(before.judged_stages) <= set(after.judged_stages)
    )


def _is_known_difference(change: Change) -> bool:
    return change.kind is ChangeClass.NEW and change.run is not None and not change.run.is_failing


def _list_change_reasons(changes: tuple[Change, ...]) -> Iterator[Reason]:
    for level in Level:
        for group in group_changes(change for change in changes if get_level(change) is level):
            yield Reason(level, str(group.kind), group.text, group.changes)
    remarks: dict[str, list[tuple[Change, str]]] = defaultdict(list)
    for change in changes:
        for remark in change.remarks:
            remarks[remark.rule].append((change, remark.text))
    for rule, found in remarks.items():
        text = format_list([f"{change.title} ({detail})" for change, detail in found])
        yield Reason(Level.WARNING, rule, text, tuple(change for change, _ in found))
