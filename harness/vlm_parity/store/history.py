"""The history of one comparison over all runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select

from vlm_parity.changes.comparison import Identity, State
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import VerdictKind
from vlm_parity.store.database import Store
from vlm_parity.store.rows import build_identity_row, read_sizes
from vlm_parity.store.tables import COMPARISON, ENVIRONMENT, RUN, SHARD


@dataclass(frozen=True)
class HistoryPoint:
    """The result of a comparison in one run."""

    run: str
    release: str
    started: str | None
    kind: VerdictKind
    state: State
    first_divergence: Stage | None
    sizes: Mapping[Stage, float]
    """The distance at each judged stage that has a limit, as a fraction of the limit."""
    packages: Mapping[str, str]
    """Versions in the environment of the engine."""


def list_history(store: Store, identity: Identity) -> tuple[HistoryPoint, ...]:
    """List the results of a comparison in all runs, the oldest first.

    Raises:
        StoreError: the store cannot be read.
    """
    columns = (COMPARISON.c.kind, COMPARISON.c.state, COMPARISON.c.first_divergence, COMPARISON.c.stages)
    query = (
        select(RUN.c.name, RUN.c.release, SHARD.c.started, *columns, ENVIRONMENT.c.packages)
        .select_from(COMPARISON)
        .join(SHARD)
        .join(RUN)
        .join(ENVIRONMENT, COMPARISON.c.environment == ENVIRONMENT.c.digest)
        .where(COMPARISON.c.identity == build_identity_row(identity)["digest"])
        .order_by(SHARD.c.started, COMPARISON.c.id)
    )
    with store.read() as connection:
        rows = connection.execute(query).all()
    return tuple(
        HistoryPoint(
            run=row.name,
            release=row.release,
            started=row.started,
            kind=VerdictKind(row.kind),
            state=State(row.state),
            first_divergence=Stage(row.first_divergence) if row.first_divergence else None,
            sizes=read_sizes(row.stages),
            packages=json.loads(row.packages),
        )
        for row in rows
    )
