"""Changes of the environments of two runs: packages, device, dtype, settings, locks, checkpoints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vlm_parity.schema.run import Shard
from vlm_parity.schema.trace import Environment
from vlm_parity.schema.verdict import Verdict

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


def list_environment_changes(
    baseline: Iterable[Verdict],
    run: Iterable[Verdict],
    baseline_shards: Iterable[Shard] = (),
    run_shards: Iterable[Shard] = (),
) -> tuple[EnvironmentChange, ...]:
    """List what changed in the environments that occur in both runs.

    Args:
        baseline: verdicts of the earlier run.
        run: verdicts of the run in question.
        baseline_shards: records of the baseline's shards, for locks and the sources of models.
        run_shards: the same of the run.
    """
    before = _collect_values(baseline, baseline_shards)
    after = _collect_values(run, run_shards)
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


def _collect_values(verdicts: Iterable[Verdict], shards: Iterable[Shard]) -> _Values:
    values: _Values = defaultdict(set)
    for verdict in verdicts:
        for prefix, environment in (
            ("", verdict.tested.environment),
            ("reference ", verdict.reference.environment),
        ):
            for name, value in _list_values(environment):
                values[("engine", verdict.label), f"{prefix}{name}"].add(value)
    for shard in shards:
        for backend in shard.backends if shard.lock else ():
            assert shard.lock is not None
            values[("lock", backend), "lock"].add(f"{shard.lock.name} {shard.lock.digest}")
        for model in shard.models.values():
            values[("model", model.name), "source"].add(model.source)
    return values


def _list_values(environment: Environment) -> Iterator[tuple[str, str]]:
    for name in _FIELDS:
        yield name, getattr(environment, name)
    yield from environment.packages.items()
    for name, value in environment.settings.items():
        yield f"setting {name}", str(value)
    for workaround in environment.workarounds:
        yield f"workaround {workaround.partition(':')[0]}", "present"
