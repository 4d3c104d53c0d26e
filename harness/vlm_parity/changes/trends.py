"""Trends over many runs: changes by run, a calendar of results, and steps in margins and times."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from vlm_parity.changes.classify import Change, ChangeClass, list_changes
from vlm_parity.changes.comparison import Comparison, Identity, State, get_sizes
from vlm_parity.changes.environments import EnvironmentChange, list_environment_changes
from vlm_parity.changes.policy import LEAST_MARGIN
from vlm_parity.changes.run_summary import RunSummary
from vlm_parity.changes.steps import Step, detect_steps

LEAST_MARGIN_SHOWN = LEAST_MARGIN / 10
"""The fraction of a limit below which a distance counts as equal to it."""
MARGIN_FACTOR = 1.5
"""Smaller than the factor of the gate, because a step is confirmed by a second run."""
LEAST_SECONDS = 1.0
SECONDS_FACTOR = 1.25
_LOAD_PHASES = ("load", "capture", "process")


class Quantity(StrEnum):
    """A value that is observed over runs."""

    MARGIN = "distance"
    """Distance from the reference as a fraction of the limit."""
    SECONDS = "seconds"
    """Wall time of a phase of an engine."""


@dataclass(frozen=True)
class Series:
    """One value over many runs."""

    quantity: Quantity
    title: str
    """The comparison or the engine load."""
    point: str
    """The stage or the phase."""
    values: Mapping[int, float]
    """Value by the index of the run; runs without it have none."""
    steps: tuple[Step, ...]
    """Steps; their indices are those of runs."""
    comparison: Comparison | None = None
    """The latest comparison; None for times."""


@dataclass(frozen=True)
class Night:
    """One run, and the changes from the runs before it."""

    run: RunSummary
    changes: tuple[Change, ...]
    """Against the latest earlier run that holds the same comparison; unchanged ones are left out."""
    environment: tuple[EnvironmentChange, ...]
    """Against the preceding run."""

    @property
    def is_worse(self) -> bool:
        """True if a comparison is worse than before, or the run is incomplete or unreadable."""
        return any(change.is_worse for change in self.changes) or bool(self.run.problems)


@dataclass(frozen=True)
class Cell:
    """The results of one model in one backend setup in one run."""

    counts: Mapping[State, int]
    worse: int = 0
    """Number of comparisons that became worse in this run."""
    better: int = 0
    """Number of comparisons that changed and did not become worse."""

    @property
    def state(self) -> State:
        """The worst result: a difference before a missing comparison."""
        order = (State.DIFFERS, State.NOT_COMPARED, State.AGREES)
        return next(state for state in order if self.counts.get(state))


@dataclass(frozen=True)
class Trends:
    """Trends over runs, the oldest first."""

    nights: tuple[Night, ...]
    calendar: Mapping[tuple[str, str], Mapping[int, Cell]]
    """By (model, backend setup), then by the index of the run."""
    margins: tuple[Series, ...]
    """Series of distances with a step, the latest step first."""
    times: tuple[Series, ...]
    """Series of the phases of engine loads that take a second or more."""

    @property
    def runs(self) -> tuple[RunSummary, ...]:
        """The runs, the oldest first."""
        return tuple(night.run for night in self.nights)


@dataclass
class _Collector:
    """The latest comparison, the distances and the times by run."""

    latest: dict[Identity, Comparison] = field(default_factory=dict)
    sizes: dict[tuple[Identity, str], dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    seconds: dict[tuple[str, str], dict[int, float]] = field(default_factory=lambda: defaultdict(dict))


def build_trends(runs: Iterable[RunSummary]) -> Trends:
    """Build the trends over runs.

    Args:
        runs: the oldest first.
    """
    collector = _Collector()
    nights: list[Night] = []
    calendar: dict[tuple[str, str], dict[int, Cell]] = defaultdict(dict)
    for index, run in enumerate(runs):
        changes = _compare_with_latest(collector.latest, run) if nights else ()
        environment = list_environment_changes(nights[-1].run, run) if nights else ()
        nights.append(Night(run, changes, environment))
        for key, cell in _build_cells(run.comparisons, changes).items():
            calendar[key][index] = cell
        _collect(collector, index, run)
    return Trends(
        tuple(nights),
        {key: calendar[key] for key in sorted(calendar)},
        tuple(sorted(_list_margin_series(collector), key=_order_series)),
        tuple(_list_time_series(collector)),
    )


def _compare_with_latest(latest: Mapping[Identity, Comparison], run: RunSummary) -> tuple[Change, ...]:
    """Compare with the latest known result of each comparison.

    A comparison that the run lacks is compared when it is there again; a lost shard is a problem of the run.
    """
    names = {comparison.identity.drop_digests() for comparison in run.comparisons}
    earlier = [each for identity, each in latest.items() if identity.drop_digests() in names]
    return tuple(
        change
        for change in list_changes(earlier, run.comparisons)
        if not change.is_same and change.kind is not ChangeClass.REMOVED
    )


def _build_cells(comparisons: Iterable[Comparison], changes: Iterable[Change]) -> dict[tuple[str, str], Cell]:
    counts: dict[tuple[str, str], Counter[State]] = defaultdict(Counter)
    changed: dict[tuple[str, str], Counter[bool]] = defaultdict(Counter)
    for comparison in comparisons:
        counts[_get_cell_key(comparison)][comparison.state] += 1
    for change in changes:
        changed[_get_cell_key(change.comparison)][change.is_worse] += 1
    return {key: Cell(count, changed[key][True], changed[key][False]) for key, count in counts.items()}


def _get_cell_key(comparison: Comparison) -> tuple[str, str]:
    return comparison.identity.model, comparison.identity.label


def _collect(collector: _Collector, index: int, run: RunSummary) -> None:
    for comparison in run.comparisons:
        collector.latest[comparison.identity] = comparison
        for stage, size in get_sizes(comparison.stages).items():
            collector.sizes[comparison.identity, stage][index] = size
    for shard in run.shards:
        for phase, seconds in shard.seconds.items():
            load, _, name = phase.rpartition("/")
            if load and name in _LOAD_PHASES:
                values = collector.seconds[load, name]
                values[index] = values.get(index, 0.0) + seconds


def _list_margin_series(collector: _Collector) -> Iterator[Series]:
    for (identity, stage), values in collector.sizes.items():
        if max(values.values()) < LEAST_MARGIN:
            continue
        if steps := _detect_steps(values, LEAST_MARGIN_SHOWN, MARGIN_FACTOR):
            comparison = collector.latest[identity]
            yield Series(Quantity.MARGIN, comparison.title, stage, values, steps, comparison)


def _list_time_series(collector: _Collector) -> Iterator[Series]:
    for (load, phase), values in sorted(collector.seconds.items()):
        if max(values.values()) < LEAST_SECONDS:
            continue
        steps = _detect_steps(values, LEAST_SECONDS, SECONDS_FACTOR)
        yield Series(Quantity.SECONDS, load, phase, values, steps)


def _detect_steps(values: Mapping[int, float], least: float, factor: float) -> tuple[Step, ...]:
    indices = list(values)
    steps = detect_steps(list(values.values()), least=least, factor=factor)
    return tuple(Step(indices[step.index], step.before, step.after) for step in steps)


def _order_series(series: Series) -> tuple[int, str, str]:
    return -series.steps[-1].index, series.title, series.point
