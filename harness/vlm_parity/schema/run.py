"""Record of one shard of a run."""

from __future__ import annotations

from vlm_parity.schema.case import Case
from vlm_parity.schema.record import Count, Record, Seconds
from vlm_parity.schema.share import Share
from vlm_parity.schema.verdict import VERDICT_SCHEMA


class ModelInfo(Record):
    """Identity of a tested model."""

    name: str
    family: str
    source: str
    """``synthetic``, the name of a folder, or ``hub id@revision``."""
    digest: str = ""
    """Digest of the checkpoint's files by ``vlm_parity.models.content``; empty if it is unknown."""


class LockDifference(Record):
    """A package whose installed version is not the pinned one."""

    name: str
    pinned: str | None
    """None if the lock has no pin of it."""
    installed: str | None
    """None if it is not installed."""


class Lock(Record):
    """Pins that an environment was installed under."""

    name: str
    digest: str
    """Start of a digest of its pins."""
    pins: Count
    differences: tuple[LockDifference, ...] = ()


class Shard(Record):
    """Contribution of one pytest session to a run: one shard per backend environment."""

    schema_version: int = VERDICT_SCHEMA
    name: str
    started: str
    """ISO 8601, UTC."""
    finished: str | None = None
    """None while the session runs, and if it was interrupted."""
    command: str
    backends: tuple[str, ...]
    lock: Lock | None = None
    """None if the environment has no lock."""
    share: Share | None = None
    """The session's share of a plan; None if it runs the whole plan."""
    cases: dict[str, Case]
    models: dict[str, ModelInfo]
    expected: Count
    """Number of verdicts planned."""
    examples: Count = 0
    """Number of cases compared by the fuzzer; those that do not fail have no verdict."""
    seconds: dict[str, Seconds] = {}
    """Wall time by phase, adding up to that of the session: ``<model>/<backend>/load`` and ``.../capture``,
    ``.../process`` (start and end of the child), ``<model>/reference/floor``, ``diff``. ``session`` is the
    rest."""
    known_issues: dict[str, Count] = {}
    """Number of verdicts that each known issue matches; empty unless everything was selected."""
    issue_descriptions: dict[str, str] = {}
    """The known issues that were applied, by name: a verdict quotes the descriptions of those that match."""
    fuzz_targets: Count = 0
    """Number of models in backends that the session began to fuzz; ``fuzz.json`` has a summary of each."""
    failed_tests: tuple[str, ...] = ()
    """Failed tests of the session that no verdict and no finding explains, by their ids."""
    failures: dict[str, str] = {}
    """Errors that prevented the comparison of a model in a backend, by ``<model> <backend>``."""
