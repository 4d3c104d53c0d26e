"""Import of a run into the store: once or again, by any number of processes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from vlm_parity.changes.run_summary import RunSummary, ShardSummary
from vlm_parity.schema.record import compute_digest
from vlm_parity.store.database import Store
from vlm_parity.store.rows import (
    Row,
    build_comparison_row,
    build_environment_row,
    build_identity_row,
    build_model_row,
    build_shard_row,
    encode_json,
    encode_texts,
)
from vlm_parity.store.tables import COMPARISON, ENVIRONMENT, IDENTITY, MODEL, RUN, SHARD

_UPSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class ShardImport(StrEnum):
    """Effect of an import on a shard."""

    ADDED = "added"
    REPLACED = "replaced"
    """The store held other results of the shard."""
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class RunLabels:
    """Labels of a run that its folder does not state; an empty one leaves the stored one."""

    name: str = ""
    """Replaces the name of the folder; runs that are imported under the same given name are one run."""
    release: str = ""
    branch: str = ""
    revision: str = ""
    evidence: str = ""


@dataclass(frozen=True)
class _ShardRows:
    """The rows of a shard."""

    shard: Row
    models: list[Row]
    comparisons: list[Row]
    identities: dict[str, Row] = field(default_factory=dict)
    environments: dict[str, Row] = field(default_factory=dict)


def import_run(store: Store, run: RunSummary, labels: RunLabels = RunLabels()) -> dict[str, ShardImport]:
    """Store the results of a run: all of them, or nothing.

    A shard belongs to one run and is recognized by its session, so a run that was merged from others takes
    their shards over. A stored run of the same name is the same run if it has a shard in common, or if the
    name was given. A shard replaces the stored one of its name in the same run.

    Returns:
        The effect on each shard, by name.

    Raises:
        StoreError: the store cannot be written.
    """
    shards = [_build_rows(shard) for shard in run.shards]
    with store.write() as connection:
        run_id = _provide_run(connection, run, labels, [rows.shard["session"] for rows in shards])
        effects = {rows.shard["name"]: _import_shard(connection, run_id, rows) for rows in shards}
        _delete_empty_runs(connection, run_id)
    return effects


def _build_rows(shard: ShardSummary) -> _ShardRows:
    rows = _ShardRows(build_shard_row(shard), list(map(build_model_row, shard.models)), [])
    for comparison in shard.comparisons:
        parts = {
            "identity": build_identity_row(comparison.identity),
            "environment": build_environment_row(comparison.environment),
            "reference_environment": build_environment_row(comparison.reference_environment),
        }
        rows.identities[parts["identity"]["digest"]] = parts["identity"]
        for name in ("environment", "reference_environment"):
            rows.environments[parts[name]["digest"]] = parts[name]
        rows.comparisons.append(build_comparison_row(comparison, parts))
    rows.shard["digest"] = compute_digest([rows.shard, rows.models, rows.comparisons])
    return rows


def _provide_run(connection: Connection, run: RunSummary, labels: RunLabels, sessions: list[str]) -> int:
    """Return the key of a run, with its labels brought up to date."""
    values = {
        "name": labels.name or run.name,
        "release": labels.release,
        "branch": labels.branch,
        "revision": labels.revision,
        "evidence": labels.evidence,
    }
    values = encode_texts(values) | {"problems": encode_json(run.own_problems)}
    run_id = _find_run(connection, values["name"], sessions, is_named=bool(labels.name))
    if run_id is None:
        result = connection.execute(insert(RUN).values(values))
        assert result.inserted_primary_key is not None
        return int(result.inserted_primary_key[0])
    given = {name: value for name, value in values.items() if value}
    connection.execute(update(RUN).where(RUN.c.id == run_id).values(given))
    return run_id


def _find_run(connection: Connection, name: str, sessions: list[str], *, is_named: bool) -> int | None:
    """Return the stored run of a folder; None if it is a new one.

    It is the run of this name that shares a shard with the folder, else a run all of whose shards are in the
    folder, which was renamed or merged, else the run of a given name.
    """
    sharing = select(SHARD.c.run).where(SHARD.c.session.in_(sessions))
    found = connection.execute(
        select(RUN.c.id, RUN.c.name, SHARD.c.session).join(SHARD).where(RUN.c.id.in_(sharing))
    ).all()
    namesakes = [row.id for row in found if row.name == name]
    partial = {row.id for row in found if row.session not in sessions}
    contained = {row.id for row in found} - partial
    if namesakes or contained:
        return int(max(namesakes or contained))
    newest = select(RUN.c.id).where(RUN.c.name == name).order_by(RUN.c.id.desc()).limit(1)
    return connection.scalar(newest) if is_named else None


def _import_shard(connection: Connection, run_id: int, rows: _ShardRows) -> ShardImport:
    stored = connection.execute(select(SHARD).where(SHARD.c.session == rows.shard["session"])).one_or_none()
    if stored is not None and (stored.run, stored.digest) == (run_id, rows.shard["digest"]):
        return ShardImport.UNCHANGED
    if stored is not None and stored.finished is not None and rows.shard["finished"] is None:
        return ShardImport.UNCHANGED  # a session beside it read the run while this shard was still written
    is_namesake = (SHARD.c.run == run_id) & (SHARD.c.name == rows.shard["name"])
    is_session = SHARD.c.session == rows.shard["session"]
    replaced = connection.execute(delete(SHARD).where(is_namesake | is_session))
    _insert_missing(connection, IDENTITY, rows.identities.values())
    _insert_missing(connection, ENVIRONMENT, rows.environments.values())
    inserted = connection.execute(insert(SHARD).values(run=run_id, **rows.shard))
    assert inserted.inserted_primary_key is not None
    shard_id = inserted.inserted_primary_key[0]
    for table, parts in ((MODEL, rows.models), (COMPARISON, rows.comparisons)):
        if parts:
            connection.execute(insert(table), [{"shard": shard_id, **part} for part in parts])
    return ShardImport.REPLACED if replaced.rowcount else ShardImport.ADDED


def _insert_missing(connection: Connection, table: Table, rows: Iterable[Row]) -> None:
    values = list(rows)
    if values:
        connection.execute(_UPSERTS[connection.dialect.name](table).on_conflict_do_nothing(), values)


def _delete_empty_runs(connection: Connection, run_id: int) -> None:
    """Delete the runs whose shards all belong to this run now."""
    filled = select(SHARD.c.run)
    connection.execute(delete(RUN).where(RUN.c.id != run_id, RUN.c.id.not_in(filled)))
