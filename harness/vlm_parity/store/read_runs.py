"""Runs in the store: their list, and the results of one."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import Connection, Select, func, select

from vlm_parity.changes.comparison import Comparison
from vlm_parity.changes.run_summary import RunSummary
from vlm_parity.schema.run import ModelInfo
from vlm_parity.store.database import Store
from vlm_parity.store.rows import (
    read_comparison,
    read_environment,
    read_identity,
    read_model,
    read_shard,
)
from vlm_parity.store.tables import COMPARISON, ENVIRONMENT, IDENTITY, MODEL, RUN, SHARD


@dataclass(frozen=True)
class StoredRun:
    """A run in the store, without its comparisons."""

    key: int
    """Its key in the database."""
    name: str
    release: str
    branch: str
    revision: str
    evidence: str
    started: str | None
    finished: str | None
    shards: int
    comparisons: int
    failing: int
    """Number of comparisons whose verdict does not pass."""
    passes: bool


def list_runs(store: Store, *, name: str | None = None, release: str | None = None) -> tuple[StoredRun, ...]:
    """List the runs in the store, the newest first.

    Args:
        store: the store.
        name: only runs of this name.
        release: only runs of this release.

    Raises:
        StoreError: the store cannot be read.
    """
    query = _select_runs()
    query = query if name is None else query.where(RUN.c.name == name)
    query = query if release is None else query.where(RUN.c.release == release)
    with store.read() as connection:
        return tuple(
            StoredRun(
                **{name: value for name, value in row.items() if name not in {"failed_shards", "problems"}},
                passes=not row["failed_shards"] and not json.loads(row["problems"]),
            )
            for row in connection.execute(query).mappings()
        )


def read_run(store: Store, key: int) -> RunSummary:
    """Read the results of a run.

    Raises:
        StoreError: the store cannot be read.
    """
    with store.read() as connection:
        run = connection.execute(select(RUN).where(RUN.c.id == key)).one()
        shards = connection.execute(select(SHARD).where(SHARD.c.run == key).order_by(SHARD.c.name)).all()
        models = _read_models(connection, key)
        comparisons = _read_comparisons(connection, key)
    return RunSummary(
        name=run.name,
        origin=f"store {store.name}",
        shards=tuple(read_shard(row, tuple(models[row.id]), tuple(comparisons[row.id])) for row in shards),
        own_problems=tuple(json.loads(run.problems)),
        release=run.release,
    )


def _select_runs() -> Select[tuple[object, ...]]:
    failed = func.count().filter(SHARD.c.passes.is_(False))
    return (
        select(
            RUN.c.id.label("key"),
            *(RUN.c[name] for name in ("name", "release", "branch", "revision", "evidence", "problems")),
            func.min(SHARD.c.started).label("started"),
            func.max(SHARD.c.finished).label("finished"),
            func.count().label("shards"),
            func.sum(SHARD.c.comparisons).label("comparisons"),
            func.sum(SHARD.c.failing).label("failing"),
            failed.label("failed_shards"),
        )
        .join(SHARD)
        .group_by(RUN.c.id)
        .order_by(func.coalesce(func.min(SHARD.c.started), "").desc(), RUN.c.id.desc())
    )


def _read_models(connection: Connection, key: int) -> dict[int, list[ModelInfo]]:
    models: dict[int, list[ModelInfo]] = defaultdict(list)
    for row in connection.execute(select(MODEL).join(SHARD).where(SHARD.c.run == key).order_by(MODEL.c.name)):
        models[row.shard].append(read_model(row))
    return models


def _read_comparisons(connection: Connection, key: int) -> dict[int, list[Comparison]]:
    """Return the comparisons of a run by the key of their shard, in the order in which they were stored."""
    rows = connection.execute(
        select(COMPARISON).join(SHARD).where(SHARD.c.run == key).order_by(COMPARISON.c.id)
    ).all()
    used = select(COMPARISON.c.identity).join(SHARD).where(SHARD.c.run == key)
    identities = {
        row.digest: read_identity(row)
        for row in connection.execute(select(IDENTITY).where(IDENTITY.c.digest.in_(used)))
    }
    names = {name for row in rows for name in (row.environment, row.reference_environment)}
    environments = {
        row.digest: read_environment(row)
        for row in connection.execute(select(ENVIRONMENT).where(ENVIRONMENT.c.digest.in_(names)))
    }
    comparisons: dict[int, list[Comparison]] = defaultdict(list)
    for row in rows:
        sides = environments[row.environment], environments[row.reference_environment]
        comparisons[row.shard].append(read_comparison(row, identities[row.identity], *sides))
    return comparisons
