"""Classes of changes: each comparison of two runs belongs to exactly one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from vlm_parity.changes.comparison import (
    Identity,
    State,
    format_title,
    get_cause,
    get_differences,
    get_state,
    is_failing,
    list_judged_stages,
)
from vlm_parity.changes.differences import Remark, list_aspects, list_remarks
from vlm_parity.changes.policy import DEFAULT_FACTOR
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Verdict

_MAX_REASON_LENGTH = 160


class ChangeClass(StrEnum):
    """Relation of a comparison to the same one in the baseline, the worst first."""

    NEW = "new difference"
    """Agrees in the baseline, differs in the run."""
    CHANGED = "changed difference"
    """Differs in both, at other stages, with another cause, in another module, or by another size."""
    LOST = "lost comparison"
    """Compared in the baseline; in the run an error, a crash, or not supported."""
    FEWER_STAGES = "fewer stages"
    """Nothing new differs, but a stage that the baseline judged was not judged."""
    REMOVED = "removed"
    """Only in the baseline."""
    NOT_COMPARED = "not compared"
    """An error, a crash, or not supported in both."""
    EDITED = "edited case"
    """The case has the same name and another digest: a new comparison."""
    ADDED = "added"
    """Only in the run."""
    RESTORED = "restored comparison"
    """Not compared in the baseline, compared in the run."""
    MORE_STAGES = "more stages"
    """Nothing else changed, but a stage was judged that the baseline did not judge."""
    FIXED = "fixed"
    """Differs in the baseline, agrees in the run."""
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Change:
    """One comparison in two runs."""

    kind: ChangeClass
    baseline: Verdict | None
    """None if the baseline lacks it."""
    run: Verdict | None
    """None if the run lacks it."""
    is_worse: bool
    """True if the run is worse here, or nothing excludes it."""
    details: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()
    """Changes that do not affect the class."""

    @property
    def verdict(self) -> Verdict:
        """The verdict of the run, or of the baseline if the run has none."""
        verdict = self.run or self.baseline
        assert verdict is not None
        return verdict

    @property
    def is_same(self) -> bool:
        """True if the verdicts of both runs have the same result, or the same reason for none."""
        if self.kind is ChangeClass.NOT_COMPARED and self.baseline is not None and self.run is not None:
            return self.baseline.kind is self.run.kind
        return self.kind is ChangeClass.UNCHANGED

    @property
    def title(self) -> str:
        """The case, the model, and the backend with mode and entry point."""
        return format_title(self.verdict)

    @property
    def stage(self) -> str:
        """The first stage that differs in the run, or else in the baseline; empty for a lost comparison."""
        return next((stage for _, stage in self._differing), "")

    @property
    def cause(self) -> str:
        """The cause at that stage; for a verdict without a comparison, its kind."""
        if self.run is not None and get_state(self.run) is State.NOT_COMPARED:
            return str(self.run.kind)
        return next((get_cause(verdict, stage) for verdict, stage in self._differing), "")

    @property
    def _differing(self) -> Iterator[tuple[Verdict, str]]:
        is_lost = self.run is None or get_state(self.run) is State.NOT_COMPARED
        for verdict in (self.run, self.baseline):
            if verdict is not None and not is_lost:
                yield from ((verdict, stage) for stage in get_differences(verdict))


def compare_verdicts(
    baseline: Iterable[Verdict], run: Iterable[Verdict], factor: float = DEFAULT_FACTOR
) -> tuple[Change, ...]:
    """Compare the verdicts of two runs.

    A comparison that a run holds several times is paired by rank, the worst with the worst.

    Args:
        baseline: verdicts of the earlier run.
        run: verdicts of the run in question.
        factor: a distance that grows or shrinks beyond it is another size.

    Returns:
        One change for each comparison of either run, the worst class first.
    """
    before, after = _index_verdicts(baseline), _index_verdicts(run)
    changes = [_classify(before[key], after[key], factor) for key in sorted(before.keys() & after.keys())]
    removed = {key: before[key] for key in sorted(before.keys() - after.keys())}
    added = {key: after[key] for key in sorted(after.keys() - before.keys())}
    for earlier, later in _pair_edited(removed, added):
        changes.append(_classify_edited(removed.pop(earlier), added.pop(later), factor))
    changes += (Change(ChangeClass.REMOVED, verdict, None, True) for verdict in removed.values())
    changes += (Change(ChangeClass.ADDED, None, verdict, is_failing(verdict)) for verdict in added.values())
    order = list(ChangeClass)
    return tuple(sorted(changes, key=lambda change: order.index(change.kind)))


def _index_verdicts(verdicts: Iterable[Verdict]) -> dict[tuple[Identity, int], Verdict]:
    """Return verdicts by identity and rank."""
    groups: dict[Identity, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        groups[Identity.of(verdict)].append(verdict)
    return {
        (identity, rank): verdict
        for identity, group in groups.items()
        for rank, verdict in enumerate(sorted(group, key=_rank) if len(group) > 1 else group)
    }


def _rank(verdict: Verdict) -> tuple[int, int, str]:
    states = (State.NOT_COMPARED, State.DIFFERS, State.AGREES)
    stages = list(Stage)
    first = stages.index(verdict.first_divergence) if verdict.first_divergence else len(stages)
    return states.index(get_state(verdict)), first, verdict.model_dump_json()


def _pair_edited(
    removed: Iterable[tuple[Identity, int]], added: Iterable[tuple[Identity, int]]
) -> list[tuple[tuple[Identity, int], tuple[Identity, int]]]:
    """Return the pairs of keys that differ in nothing but the digest of the case."""
    free: dict[tuple[Identity, int], list[tuple[Identity, int]]] = defaultdict(list)
    for key in added:
        free[_drop_digest(key)].append(key)
    pairs = []
    for key in removed:
        if candidates := free[_drop_digest(key)]:
            pairs.append((key, candidates.pop(0)))
    return pairs


def _drop_digest(key: tuple[Identity, int]) -> tuple[Identity, int]:
    identity, rank = key
    return replace(identity, case_digest=""), rank


def _classify_edited(before: Verdict, after: Verdict, factor: float) -> Change:
    if not {before.tested.max_size_modality, after.tested.max_size_modality} <= {None}:
        return _classify(before, after, factor)  # the digest depends on the medium that the engine reports
    is_lost = get_state(after) is State.NOT_COMPARED and get_state(before) is not State.NOT_COMPARED
    detail = "the case was edited, so this is a new comparison"
    return Change(ChangeClass.EDITED, before, after, is_failing(after) or is_lost, (detail,))


def _classify(before: Verdict, after: Verdict, factor: float) -> Change:
    states = get_state(before), get_state(after)
    if State.NOT_COMPARED in states:
        return _classify_uncompared(before, after)
    aspects = list(list_aspects(before, after, factor))
    lost = _format_stages(set(list_judged_stages(before)) - set(list_judged_stages(after)))
    gained = _format_stages(set(list_judged_stages(after)) - set(list_judged_stages(before)))
    details = [aspect.text for aspect in aspects]
    details += [f"no longer judged: {lost}"] if lost else []
    details += [f"newly judged: {gained}"] if gained else []
    if states == (State.AGREES, State.DIFFERS):
        kind = ChangeClass.NEW
    elif states == (State.DIFFERS, State.DIFFERS) and aspects:
        kind = ChangeClass.CHANGED
    elif lost:
        kind = ChangeClass.FEWER_STAGES
    elif states == (State.DIFFERS, State.AGREES):
        kind = ChangeClass.FIXED
    else:
        kind = ChangeClass.MORE_STAGES if gained else ChangeClass.UNCHANGED
    is_worse = bool(lost) or any(aspect.is_worse for aspect in aspects)
    remarks = tuple(list_remarks(before, after, factor))
    return Change(kind, before, after, is_worse, tuple(details), remarks)


def _classify_uncompared(before: Verdict, after: Verdict) -> Change:
    reason = after.reason.partition("\n")[0][:_MAX_REASON_LENGTH]
    detail = f"{before.kind} -> {after.kind}{f': {reason}' if reason else ''}"
    if get_state(after) is not State.NOT_COMPARED:
        return Change(ChangeClass.RESTORED, before, after, is_failing(after), (detail,))
    if get_state(before) is not State.NOT_COMPARED:
        return Change(ChangeClass.LOST, before, after, True, (detail,))
    is_worse = is_failing(after) and not is_failing(before)
    return Change(ChangeClass.NOT_COMPARED, before, after, is_worse, (detail,))


def _format_stages(stages: set[Stage]) -> str:
    return ", ".join(stage for stage in Stage if stage in stages)
