"""Tables of the store. docs/reference/store.md shows them; a change needs a migration."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, MetaData, Table, Text, UniqueConstraint

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _text(name: str, comment: str) -> Column[str]:
    return Column(name, Text, nullable=False, comment=comment)


def _optional(name: str, comment: str) -> Column[str | None]:
    return Column(name, Text, nullable=True, comment=comment)


RUN = Table(
    "run",
    METADATA,
    Column("id", Integer, primary_key=True),
    _text("name", "name of the run folder, or the name given at the import; several runs may have it"),
    _text("release", "release that the run is the record of, such as 0.18.0; empty for other runs"),
    _text("branch", "branch that was tested, as given at the import"),
    _text("revision", "commit that was tested, as given at the import"),
    _text("evidence", "folder or URL of the run folder, which holds traces and pages"),
    _text("problems", "JSON list: problems of the run that belong to none of its shards"),
    Index(None, "name"),
    Index(None, "release"),
    comment="One invocation: a run folder.",
)

SHARD = Table(
    "shard",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("run", ForeignKey("run.id", ondelete="CASCADE"), nullable=False, comment="its run"),
    _text("name", "name of the shard's folder"),
    Column(
        "session", Text, nullable=False, unique=True, comment="digest of the session that wrote the shard"
    ),
    _text("digest", "digest of the stored results; equal results are not written again"),
    _optional("started", "start of the session, ISO 8601 in UTC; null if its record is unreadable"),
    _optional("finished", "end of the session; null if it did not come to its end"),
    _text("backends", "JSON list: backends of the session"),
    _text("lock", "name and digest of the lock of its environment; empty if it has none"),
    Column(
        "passes",
        Boolean,
        nullable=False,
        comment="true if every verdict passes, and the shard is complete and readable",
    ),
    Column("comparisons", Integer, nullable=False, comment="number of its comparisons"),
    Column("failing", Integer, nullable=False, comment="number of those whose verdict does not pass"),
    _text("problems", "JSON list: reasons why the shard is incomplete or unreadable"),
    _text("seconds", "JSON object: wall time by phase, such as qwen2_vl/vllm/load"),
    UniqueConstraint("run", "name"),
    comment="The contribution of one session to a run.",
)

MODEL = Table(
    "model",
    METADATA,
    Column("shard", ForeignKey("shard.id", ondelete="CASCADE"), primary_key=True, comment="its shard"),
    Column("name", Text, primary_key=True, comment="name of the model in test ids"),
    _text("family", "family of the model"),
    _text("source", "synthetic, the name of a folder, or hub id@revision"),
    _text("digest", "digest of the checkpoint's files; empty if unknown"),
    comment="A model of a shard.",
)

IDENTITY = Table(
    "identity",
    METADATA,
    Column("digest", Text, primary_key=True, comment="digest of the other columns"),
    _text("model", "name of the model"),
    _text("backend", "name of the backend"),
    _text("mode", "mode of the engine"),
    _text("entry_point", "API that received the case"),
    _text("case", "name of the case"),
    _text("dtype", "dtype of the engine"),
    _text("device", "device of the engine"),
    _text("depth", "tokens or logits"),
    _text("checkpoint", "digest of the checkpoint's files; empty if unknown"),
    _text("case_digest", "digest of the case: an edited case is another comparison"),
    comment="A comparison over time: one row for all runs.",
)

ENVIRONMENT = Table(
    "environment",
    METADATA,
    Column("digest", Text, primary_key=True, comment="digest of the other columns"),
    _text("python", "version of Python"),
    _text("platform", "operating system and processor"),
    _text("device", "device"),
    _text("dtype", "dtype"),
    _text("packages", "JSON object: versions by distribution name"),
    _text("settings", "JSON object: engine arguments other than the defaults"),
    _text("workarounds", "JSON list: changes by the harness that the engine needs"),
    comment="An environment of an engine or of the reference: one row for all comparisons in it.",
)

COMPARISON = Table(
    "comparison",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("shard", ForeignKey("shard.id", ondelete="CASCADE"), nullable=False, comment="its shard"),
    Column("identity", ForeignKey("identity.digest"), nullable=False, comment="its identity"),
    Column("environment", ForeignKey("environment.digest"), nullable=False, comment="that of the engine"),
    Column(
        "reference_environment",
        ForeignKey("environment.digest"),
        nullable=False,
        comment="that of the reference",
    ),
    _text("kind", "kind of the verdict"),
    _text("state", "agrees, differs, or not compared: the result, known issues aside"),
    _text("reason", "reason of the verdict"),
    _optional("first_divergence", "first stage that differs"),
    _text("known", "known issues that apply"),
    _text("reproduce", "command that reproduces the verdict"),
    _text("reference_outcome", "outcome of the reference's capture"),
    _text("stages", "JSON list: stage, status and metrics of each stage, also on given values"),
    _text("causes", "JSON list: stage, name and confidence of each cause"),
    _text("modules", "JSON list: first located module, by given values"),
    Column("has_max_size", Boolean, nullable=False, comment="true if the engine determines a medium's size"),
    _text("largest_medium", "JSON object: medium of the encoder budget; empty if there is none"),
    Column("is_finding", Boolean, nullable=False, comment="true if the fuzzer drew the case"),
    _text("seconds", "JSON object: wall time of the engine's trace by phase"),
    _text("retry_note", "sentence on the attempts that failed before; empty if none did"),
    Index(None, "shard"),
    Index(None, "identity"),
    comment="The results of one verdict.",
)
