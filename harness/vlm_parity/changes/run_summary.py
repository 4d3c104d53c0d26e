"""Results of a run, without its evidence: read from its folder or from a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vlm_parity.changes.comparison import Comparison
from vlm_parity.schema.record import Seconds
from vlm_parity.schema.run import ModelInfo


@dataclass(frozen=True)
class ShardSummary:
    """Results of one shard."""

    name: str
    session: str
    """Digest that identifies the session that wrote it, wherever the shard is copied to."""
    started: str | None
    """ISO 8601, UTC; None if the record of the shard is unreadable."""
    finished: str | None
    """None if the session did not come to its end."""
    backends: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    problems: tuple[str, ...] = ()
    """The reasons why the shard is incomplete or unreadable."""
    lock: str = ""
    """Name and digest of the lock of its environment; empty if it has none."""
    models: tuple[ModelInfo, ...] = ()
    seconds: Mapping[str, Seconds] = field(default_factory=dict)
    """Wall time by phase, as in ``vlm_parity.schema.run.Shard``."""

    @property
    def passes(self) -> bool:
        """True if every verdict passes, and the shard is complete and readable."""
        return not self.problems and all(each.kind.passes for each in self.comparisons)


@dataclass(frozen=True)
class RunSummary:
    """Results of one run."""

    name: str
    origin: str
    """The folder or the store that it was read from."""
    shards: tuple[ShardSummary, ...]
    own_problems: tuple[str, ...] = ()
    """Problems that belong to none of its shards."""
    release: str = ""
    """The release that the run is the record of; empty if it is of none."""

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """The comparisons of all shards."""
        return tuple(each for shard in self.shards for each in shard.comparisons)

    @property
    def problems(self) -> tuple[str, ...]:
        """The reasons why the run is incomplete or unreadable."""
        return (*(problem for shard in self.shards for problem in shard.problems), *self.own_problems)

    @property
    def started(self) -> str | None:
        """The start of the first shard."""
        return min((shard.started for shard in self.shards if shard.started), default=None)

    @property
    def passes(self) -> bool:
        """True if every verdict passes, every shard is complete, and every record is readable."""
        return bool(self.shards) and not self.own_problems and all(shard.passes for shard in self.shards)
