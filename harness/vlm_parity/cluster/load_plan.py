"""Plan of a run on a cluster: one task for each engine load, and the name of its shard."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count

from vlm_parity.models.resolve import get_model_name
from vlm_parity.schema.engine_setup import EntryPoint
from vlm_parity.session.plan import EngineLoad

_MAX_NAME_LENGTH = 150
"""A shard's name may have 200 characters; a number may follow."""


@dataclass(frozen=True)
class ClusterLoad:
    """An engine load, with all cases of the entry points that share it: one task, one shard."""

    name: str
    """Name of its shard."""
    engine: EngineLoad
    entry_points: tuple[EntryPoint, ...]
    verdicts: int
    """Number of verdicts that it writes."""

    @property
    def title(self) -> str:
        """The model, and the backend with its mode."""
        return f"{get_model_name(self.engine.model)} {self.engine.label}"

    @property
    def references(self) -> tuple[str, str]:
        """The model and the backend, in whose environment the references of its cases are computed."""
        return self.engine.model, self.engine.backend

    @property
    def words(self) -> tuple[str, ...]:
        """The options of ``parity run`` that select it and name its shard."""
        engine = self.engine
        words = ["--backend", engine.backend, f"--model={engine.model}", "--mode", engine.mode]
        words += [word for name in self.entry_points for word in ("--entry-point", str(name))]
        return (*words, "--shard", self.name)


def plan_loads(cases: Mapping[EngineLoad, int]) -> tuple[ClusterLoad, ...]:
    """Group the entry points that share an engine.

    Args:
        cases: number of cases by model, backend, mode and entry point.
    """
    groups: dict[EngineLoad, dict[EntryPoint, int]] = {}
    for load, number in cases.items():
        groups.setdefault(load.engine, {})[load.entry_point] = number
    names = _name_shards(groups)
    return tuple(
        ClusterLoad(names[engine], engine, tuple(numbers), sum(numbers.values()))
        for engine, numbers in groups.items()
    )


def _name_shards(engines: Iterable[EngineLoad]) -> dict[EngineLoad, str]:
    names: dict[EngineLoad, str] = {}
    taken: set[str] = set()
    for engine in engines:
        text = f"{get_model_name(engine.model)}-{engine.label}"
        stem = re.sub(r"[^A-Za-z0-9._+-]", "_", text).lstrip("._+-")[:_MAX_NAME_LENGTH] or "load"
        candidates = (stem if number == 1 else f"{stem}-{number}" for number in count(1))
        names[engine] = next(name for name in candidates if name not in taken)
        taken.add(names[engine])
    return names
