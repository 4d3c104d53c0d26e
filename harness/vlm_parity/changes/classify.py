"""Classes of changes: each comparison of two runs belongs to exactly one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from vlm_parity.changes.comparison import Comparison, Identity, State
from vlm_parity.changes.differences import Remark, list_aspects, list_remarks
from vlm_parity.changes.policy import DEFAULT_FACTOR
from vlm_parity.schema.trace import Stage

_MAX_REASON_LENGTH = 160
_Key: TypeAlias = "tuple[Identity, int]"
"""A comparison of a run: its identity, and its rank among those with the same."""


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
    OTHER_CHECKPOINT = "other checkpoint"
    """The model has the same name and other files: a new comparison."""
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
    baseline: Comparison | None
    """None if the baseline lacks it."""
    run: Comparison | None
    """None if the run lacks it."""
    is_worse: bool
    """True if the run is worse here, or nothing excludes it."""
    details: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()
    """Changes that do not affect the class."""

    @property
    def comparison(self) -> Comparison:
        """The comparison in the run, or in the baseline if the run lacks it."""
        comparison = self.run or self.baseline
        assert comparison is not None
        return comparison

    @property
    def is_same(self) -> bool:
        """True if the verdicts of both runs have the same result, or the same reason for none."""
        if self.kind is ChangeClass.NOT_COMPARED and self.baseline is not None and self.run is not None:
            return self.baseline.kind is self.run.kind
        return self.kind is ChangeClass.UNCHANGED

    @property
    def title(self) -> str:
        """The case, the model, and the backend with mode and entry point."""
        return self.comparison.title

    @property
    def stage(self) -> str:
        """The first stage that differs in the run, or else in the baseline; empty for a lost comparison."""
        return next((stage for _, stage in self._differing), "")

    @property
    def cause(self) -> str:
        """The cause at that stage; for a verdict without a comparison, its kind."""
        if self.run is not None and self.run.state is State.NOT_COMPARED:
            return str(self.run.kind)
        return next((each.get_cause(stage) for each, stage in self._differing), "")

    @property
    def _differing(self) -> Iterator[tuple[Comparison, str]]:
        is_lost = self.run is None or self.run.state is State.NOT_COMPARED
        for comparison in (self.run, self.baseline):
            if comparison is not None and not is_lost:
                yield from ((comparison, stage) for stage in comparison.differences)


def list_changes(
    baseline: Iterable[Comparison], run: Iterable[Comparison], factor: float = DEFAULT_FACTOR
) -> tuple[Change, ...]:
    """List the changes of all comparisons of two runs.

    A comparison that a run holds several times is paired by rank, the worst with the worst.

    Args:
        baseline: comparisons of the earlier run.
        run: comparisons of the run in question.
        factor: a distance that grows or shrinks beyond it is another size.

    Returns:
        One change for each comparison of either run, the worst class first.
    """
    before, after = _index_comparisons(baseline), _index_comparisons(run)
    changes = [_classify(before[key], after[key], factor) for key in sorted(before.keys() & after.keys())]
    removed = {key: before[key] for key in sorted(before.keys() - after.keys())}
    added = {key: after[key] for key in sorted(after.keys() - before.keys())}
    for earlier, later in _pair_by_name(removed, added):
        changes.append(_classify_namesakes(removed.pop(earlier), added.pop(later), factor))
    changes += (Change(ChangeClass.REMOVED, each, None, True) for each in removed.values())
    changes += (Change(ChangeClass.ADDED, None, each, each.is_failing) for each in added.values())
    order = list(ChangeClass)
    return tuple(sorted(changes, key=lambda change: order.index(change.kind)))


def _index_comparisons(comparisons: Iterable[Comparison]) -> dict[_Key, Comparison]:
    """Return comparisons by identity and rank."""
    groups: dict[Identity, list[Comparison]] = defaultdict(list)
    for comparison in comparisons:
        groups[comparison.identity].append(comparison)
    return {
        (identity, rank): comparison
        for identity, group in groups.items()
        for rank, comparison in enumerate(sorted(group, key=_rank) if len(group) > 1 else group)
    }


def _rank(comparison: Comparison) -> tuple[int, int, str]:
    states = (State.NOT_COMPARED, State.DIFFERS, State.AGREES)
    stages = list(Stage)
    divergence = comparison.first_divergence
    first = stages.index(divergence) if divergence else len(stages)
    return states.index(comparison.state), first, repr(comparison)


def _pair_by_name(removed: Iterable[_Key], added: Iterable[_Key]) -> list[tuple[_Key, _Key]]:
    """Return the pairs of keys that differ in nothing but digests, those with fewer other digests first."""
    candidates: dict[_Key, list[_Key]] = defaultdict(list)
    for key in added:
        candidates[_drop_digests(key)].append(key)
    pairs = [(earlier, later) for earlier in removed for later in candidates[_drop_digests(earlier)]]
    paired: dict[_Key, _Key] = {}
    for earlier, later in sorted(pairs, key=lambda pair: (_count_other_digests(*pair), pair)):
        if earlier not in paired and later not in paired.values():
            paired[earlier] = later
    return list(paired.items())


def _drop_digests(key: _Key) -> _Key:
    identity, rank = key
    return identity.drop_digests(), rank


def _count_other_digests(earlier: _Key, later: _Key) -> int:
    before, after = earlier[0], later[0]
    return (before.case_digest != after.case_digest) + _is_other_checkpoint(before, after)


def _is_other_checkpoint(before: Identity, after: Identity) -> bool:
    return "" not in {before.checkpoint, after.checkpoint} and before.checkpoint != after.checkpoint


def _classify_namesakes(before: Comparison, after: Comparison, factor: float) -> Change:
    # The digest of a case with a max_size medium depends on the medium that the engine reports.
    is_sized = before.has_max_size or after.has_max_size
    if before.identity.case_digest != after.identity.case_digest and not is_sized:
        kind, detail = ChangeClass.EDITED, "the case was edited, so this is a new comparison"
    elif _is_other_checkpoint(before.identity, after.identity):
        kind, detail = ChangeClass.OTHER_CHECKPOINT, "the checkpoint has other files: a new comparison"
    else:
        return _classify(before, after, factor)
    is_lost = after.state is State.NOT_COMPARED and before.state is not State.NOT_COMPARED
    return Change(kind, before, after, after.is_failing or is_lost, (detail,))


def _classify(before: Comparison, after: Comparison, factor: float) -> Change:
    states = before.state, after.state
    if State.NOT_COMPARED in states:
        return _classify_uncompared(before, after)
    aspects = list(list_aspects(before, after, factor))
    lost = _format_stages(set(before.judged_stages) - set(after.judged_stages))
    gained = _format_stages(set(after.judged_stages) - set(before.judged_stages))
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


def _classify_uncompared(before: Comparison, after: Comparison) -> Change:
    reason = after.reason.partition("\n")[0][:_MAX_REASON_LENGTH]
    detail = f"{before.kind} -> {after.kind}{f': {reason}' if reason else ''}"
    if after.state is not State.NOT_COMPARED:
        return Change(ChangeClass.RESTORED, before, after, after.is_failing, (detail,))
    if before.state is not State.NOT_COMPARED:
        return Change(ChangeClass.LOST, before, after, True, (detail,))
    is_worse = after.is_failing and not before.is_failing
    return Change(ChangeClass.NOT_COMPARED, before, after, is_worse, (detail,))


def _format_stages(stages: set[Stage]) -> str:
    return ", ".join(stage for stage in Stage if stage in stages)
