"""Changes of the environments of two runs: packages, device, dtype, settings, locks, checkpoints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vlm_parity.changes.comparison import Comparison
from vlm_parity.changes.run_summary import RunSummary, ShardSummary
from vlm_parity.schema.trace import Environment

_FIELDS = ("python", "platform", "device", "dtype")
_Place = tuple[str, str]
"""The kind of a place (``engine``, ``lock``, ``model``) and its name."""
_Values = dict[tuple[_Place, str], set[str]]
"""The values that occur, by place and name."""


@dataclass(frozen=True)
class EnvironmentChange:
    """One value that is not the same in both runs."""

    name: str
    """``transformers``, ``dtype``, ``reference device``, ``setting max_model_len``, ``lock``."""
    baseline: str
    """Empty if the baseline has none; several values are separated by commas."""
    run: str
    places: tuple[str, ...]
    """The engines, models or locks that it was found in."""

    @property
    def text(self) -> str:
        """The change without its places: ``transformers 5.23.0 -> 5.24.0``."""
        return f"{self.name} {self.baseline or 'none'} -> {self.run or 'none'}"


def list_environment_changes(baseline: RunSummary, run: RunSummary) -> tuple[EnvironmentChange, ...]:
    """List what changed in the environments that occur in both runs."""
    before, after = _collect_values(baseline.shards), _collect_values(run.shards)
    common = {place for place, _ in before} & {place for place, _ in after}
    places: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for place, name in sorted(before.keys() | after.keys()):
        values = before.get((place, name), set()), after.get((place, name), set())
        if place in common and values[0] != values[1]:
            shown = [", ".join(sorted(each)) for each in values]
            places[name, shown[0], shown[1]].append(place[1])
    changes = (EnvironmentChange(*key, tuple(found)) for key, found in places.items())
    return tuple(change for change in changes if not _repeats_engine(change, places))


def _repeats_engine(change: EnvironmentChange, places: dict[tuple[str, str, str], list[str]]) -> bool:
    """Return whether a change of the reference is that of the engines: both share an environment."""
    name = change.name.removeprefix("reference ")
    engine = places.get((name, change.baseline, change.run), [])
    return name != change.name and set(change.places) <= set(engine)


def _collect_values(shards: Iterable[ShardSummary]) -> _Values:
    values: _Values = defaultdict(set)
    for shard in shards:
        for comparison in shard.comparisons:
            for name, value in _list_sides(comparison):
                values[("engine", comparison.identity.label), name].add(value)
        for backend in shard.backends if shard.lock else ():
            values[("lock", backend), "lock"].add(shard.lock)
        for model in shard.models:
            values[("model", model.name), "source"].add(model.source)
    return values


def _list_sides(comparison: Comparison) -> Iterator[tuple[str, str]]:
    yield from _list_values(comparison.environment)
    for name, value in _list_values(comparison.reference_environment):
        yield f"reference {name}", value


def _list_values(environment: Environment) -> Iterator[tuple[str, str]]:
    for name in _FIELDS:
        yield name, getattr(environment, name)
    yield from environment.packages.items()
    for name, value in environment.settings.items():
        yield f"setting {name}", str(value)
    for workaround in environment.workarounds:
        yield f"workaround {workaround.partition(':')[0]}", "present"
