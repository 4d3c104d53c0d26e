"""Rows of the tables: results of a run as plain columns, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, TypeAlias

from pydantic import ConfigDict, TypeAdapter
from sqlalchemy import Row as SelectedRow

from vlm_parity.changes.comparison import Cause, Comparison, Identity, LocatedModule, get_sizes
from vlm_parity.changes.run_summary import ShardSummary
from vlm_parity.schema.engine_setup import Depth, EntryPoint
from vlm_parity.schema.record import compute_digest
from vlm_parity.schema.run import ModelInfo
from vlm_parity.schema.trace import Environment, Outcome, Stage
from vlm_parity.schema.verdict import StageResult, VerdictKind
from vlm_parity.util.clock import format_record_time

Row: TypeAlias = dict[str, Any]
_FINITE = ConfigDict(ser_json_inf_nan="strings")
_STAGES = TypeAdapter(tuple[StageResult, ...], config=_FINITE)
_CAUSES = TypeAdapter(tuple[Cause, ...], config=_FINITE)
_MODULES = TypeAdapter(tuple[LocatedModule, ...], config=_FINITE)
_IDENTITY_FIELDS = tuple(each.name for each in fields(Identity))


def build_identity_row(identity: Identity) -> Row:
    """Build the row of an identity."""
    row = encode_texts(asdict(identity))
    return {"digest": compute_digest(row), **row}


def build_environment_row(environment: Environment) -> Row:
    """Build the row of an environment."""
    values = environment.model_dump(mode="json")
    encoded = {
        name: value if isinstance(value, str) else encode_json(value) for name, value in values.items()
    }
    row = encode_texts(encoded)
    return {"digest": compute_digest(row), **row}


def build_comparison_row(comparison: Comparison, rows: Mapping[str, Row]) -> Row:
    """Build the row of a comparison, without its shard.

    Args:
        comparison: the comparison.
        rows: the rows that it refers to, by column.
    """
    return encode_texts(
        {
            **{column: row["digest"] for column, row in rows.items()},
            "kind": str(comparison.kind),
            "state": str(comparison.state),
            "reason": comparison.reason,
            "first_divergence": comparison.first_divergence and str(comparison.first_divergence),
            "known": comparison.known,
            "reproduce": comparison.reproduce,
            "reference_outcome": str(comparison.reference_outcome),
            "stages": _STAGES.dump_json(comparison.stages, exclude_defaults=True).decode(),
            "causes": _CAUSES.dump_json(comparison.causes).decode(),
            "modules": _MODULES.dump_json(comparison.modules, exclude_defaults=True).decode(),
            "has_max_size": comparison.has_max_size,
            "largest_medium": comparison.largest_medium,
            "is_finding": comparison.is_finding,
            "seconds": encode_json(comparison.seconds),
            "retry_note": comparison.retry_note,
        }
    )


def build_shard_row(shard: ShardSummary) -> Row:
    """Build the row of a shard, without its run and the digest of its contents."""
    return encode_texts(
        {
            "name": shard.name,
            "session": shard.session,
            "started": normalize_time(shard.started),
            "finished": normalize_time(shard.finished),
            "backends": encode_json(shard.backends),
            "lock": shard.lock,
            "passes": shard.passes,
            "comparisons": len(shard.comparisons),
            "failing": sum(not each.kind.passes for each in shard.comparisons),
            "problems": encode_json(shard.problems),
            "seconds": encode_json(shard.seconds),
        }
    )


def build_model_row(model: ModelInfo) -> Row:
    """Build the row of a model, without its shard."""
    return encode_texts(model.model_dump(mode="json"))


def read_environment(row: SelectedRow[Any]) -> Environment:
    """Return the environment in a row."""
    values = row._mapping
    decoded = {name: json.loads(values[name]) for name in ("packages", "settings", "workarounds")}
    plain = {name: values[name] for name in ("python", "platform", "device", "dtype")}
    return Environment.model_validate(plain | decoded)


def read_identity(row: SelectedRow[Any]) -> Identity:
    """Return the identity in a row."""
    columns = row._mapping
    values = {name: columns[name] for name in _IDENTITY_FIELDS}
    typed = {"entry_point": EntryPoint(values["entry_point"]), "depth": Depth(values["depth"])}
    return Identity(**values | typed)


def read_comparison(
    row: SelectedRow[Any], identity: Identity, environment: Environment, reference: Environment
) -> Comparison:
    """Return the comparison in a row.

    Args:
        row: of the table of comparisons.
        identity: its identity.
        environment: that of the engine.
        reference: that of the reference.
    """
    return Comparison(
        identity=identity,
        kind=VerdictKind(row.kind),
        reason=row.reason,
        first_divergence=Stage(row.first_divergence) if row.first_divergence else None,
        known=row.known,
        reproduce=row.reproduce,
        stages=_STAGES.validate_json(row.stages),
        reference_outcome=Outcome(row.reference_outcome),
        reference_environment=reference,
        environment=environment,
        causes=_CAUSES.validate_json(row.causes),
        modules=_MODULES.validate_json(row.modules),
        has_max_size=row.has_max_size,
        largest_medium=row.largest_medium,
        is_finding=row.is_finding,
        retry_note=row.retry_note,
        seconds=json.loads(row.seconds),
    )


def read_sizes(stages: str) -> dict[Stage, float]:
    """Return the distances in the column ``stages``, as fractions of their limits."""
    return get_sizes(_STAGES.validate_json(stages))


def read_shard(
    row: SelectedRow[Any], models: tuple[ModelInfo, ...], comparisons: tuple[Comparison, ...]
) -> ShardSummary:
    """Return the shard in a row, with its models and comparisons."""
    return ShardSummary(
        name=row.name,
        session=row.session,
        started=row.started,
        finished=row.finished,
        backends=tuple(json.loads(row.backends)),
        comparisons=comparisons,
        problems=tuple(json.loads(row.problems)),
        lock=row.lock,
        models=models,
        seconds=json.loads(row.seconds),
    )


def read_model(row: SelectedRow[Any]) -> ModelInfo:
    """Return the model in a row."""
    return ModelInfo(name=row.name, family=row.family, source=row.source, digest=row.digest)


def encode_json(value: Any) -> str:
    """Encode a list or an object for a column."""
    return json.dumps(value if not isinstance(value, Mapping) else dict(value), ensure_ascii=False)


def normalize_time(text: str | None) -> str | None:
    """Return a time in UTC in one form, so that times can be compared as texts; None if it is no time."""
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None  # a problem of the shard states it
    return format_record_time(time) if time.tzinfo else None


def encode_texts(row: Row) -> Row:
    """Replace the character NUL, which PostgreSQL stores in no text."""
    return {
        name: value.replace("\0", "\\0") if isinstance(value, str) else value for name, value in row.items()
    }
