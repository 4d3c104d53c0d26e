"""Record of one shard of a run."""

from __future__ import annotations

from vlm_parity.schema.case import Case
from vlm_parity.schema.record import Record
from vlm_parity.schema.verdict import VERDICT_SCHEMA


class ModelInfo(Record):
    """What was tested."""

    name: str
    family: str
    source: str
    """``synthetic``, a folder's name, or ``hub id@revision``."""


class Shard(Record):
    """What one pytest session adds to a run: one part a backend environment."""

    schema_version: int = VERDICT_SCHEMA
    name: str
    started: str
    """ISO 8601, UTC."""
    finished: str | None = None
    """None as long as the session runs, and for ever where it was cut off."""
    command: str
    backends: tuple[str, ...]
    cases: dict[str, Case]
    models: dict[str, ModelInfo]
    expected: int
    """How many verdicts the session set out to give."""
    examples: int = 0
    """How many cases the fuzzer had compared; those that broke nothing have no verdict."""
    seconds: dict[str, float] = {}
    """Wall time by what it was spent on: ``<model>/<backend>/load``, ``.../capture``, ``diff``."""
    known_issues: dict[str, int] = {}
    """How many verdicts each known issue matches; empty unless everything was selected."""
    failures: dict[str, str] = {}
    """What ended the comparison of a model in a backend before it began, by ``<model> <backend>``."""
