"""Findings of the fuzzer, as written to ``fuzz.json``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from vlm_parity.schema.record import Count, Record, Seconds
from vlm_parity.schema.verdict import Verdict, VerdictKind

FUZZ_SCHEMA = 3
FUZZ_FILE = "fuzz.json"
_MAX_MESSAGE_LENGTH = 120


class FindingKey(NamedTuple):
    """Identity of a finding: failing examples of one model in one engine are the same if their keys are."""

    failed_property: str
    """The first stage that differs, or ``refusal``, ``error``, ``crash``, ``invalid``,
    ``harness_error``, ``not repeatable``, ``batch-dependent``, ``unclear refusal``."""
    cause: str
    """The most confident diagnosis; for a failure, its message without numbers and names."""


class FuzzFinding(Record):
    """One difference, with the smallest case that reproduces it."""

    model: str
    backend: str
    failed_property: str
    """As in ``FindingKey``."""
    cause: str
    """As in ``FindingKey``; empty if no rule explains the difference."""
    case: str
    """The name of the shrunk case; its file is ``cases/<name>.yaml`` in the folder of the shard."""
    shard: str
    kind: VerdictKind
    """The kind of the verdict on the shrunk case, known issues applied."""
    message: str
    """The difference or failure in the shrunk case."""
    known: str = ""
    """Descriptions of the matching known issues."""
    seed: int
    """The seed of the round that found it."""
    examples: Count
    """Number of examples run before it was found."""
    duplicates: Count = 0
    """Number of later examples with the same key."""
    not_shrunk_reason: str = ""
    """The reason why the case may not be minimal; empty if Hypothesis finished shrinking."""
    reproduce: str
    """The command that reproduces the finding."""

    @property
    def passes(self) -> bool:
        """True if the finding does not fail a run."""
        return self.kind.passes


class FuzzSummary(Record):
    """Statistics of the fuzzing of one model in one engine."""

    model: str
    backend: str
    fault: str = ""
    """The fault injected into the engine."""
    profile: str
    seed: int
    """The seed of the first round; each further round increments it."""
    rounds: Count = 0
    examples: Count = 0
    """Number of examples run to find failures."""
    shrinking: Count = 0
    """Number of examples run to shrink a finding."""
    repeated: Count = 0
    """Number of examples that the engine ran again: after others and, if supported, in a batch."""
    outcomes: dict[str, Count] = {}
    """Number of examples by outcome: the kind of the verdict, or ``duplicate`` for one that fails like an
    earlier finding."""
    seconds: Seconds = 0.0
    """Time spent running and comparing examples, without loads."""
    load_seconds: Seconds = 0.0
    loads: Count = 0
    """Number of child processes started, on both sides."""
    packages: dict[str, str] = {}
    problem: str = ""
    """The error that ended fuzzing early, or that prevented it."""
    unsupported: str = ""
    """The engine's message if it does not support the model, so that nothing was fuzzed."""
    finished: bool = False
    """False until fuzzing reaches the limit of its profile."""

    @property
    def incomplete_reason(self) -> str:
        """The reason why fuzzing is incomplete; empty if it reached its limit or the model is unsupported."""
        if self.problem or self.unsupported:
            return self.problem
        if not self.finished:
            return "its session was interrupted or is still running"
        return "" if self.examples else "it ran no example"

    @property
    def rate(self) -> float:
        """Examples per second, including shrinking."""
        total = self.examples + self.shrinking
        return total / self.seconds if self.seconds else 0.0


class FuzzRecord(Record):
    """Fuzzing results of one shard of a run, or of all shards."""

    schema_version: int = FUZZ_SCHEMA
    fuzzed: tuple[FuzzSummary, ...] = ()
    findings: tuple[FuzzFinding, ...] = ()

    @property
    def examples(self) -> int:
        """Number of examples run to find failures."""
        return sum(summary.examples for summary in self.fuzzed)

    @property
    def passes(self) -> bool:
        """True if there are no new findings and nothing ended early."""
        is_complete = not any(summary.incomplete_reason for summary in self.fuzzed)
        return is_complete and all(finding.passes for finding in self.findings)


def merge_fuzz_records(records: Iterable[FuzzRecord]) -> FuzzRecord:
    """Merge the records of several shards into one."""
    shards = list(records)
    return FuzzRecord(
        fuzzed=tuple(summary for shard in shards for summary in shard.fuzzed),
        findings=tuple(finding for shard in shards for finding in shard.findings),
    )


def get_finding_key(verdict: Verdict) -> FindingKey | None:
    """Return the key of the finding that a verdict amounts to; None if it is not a failure."""
    if verdict.kind in {VerdictKind.MATCH, VerdictKind.REFUSED, VerdictKind.UNSUPPORTED}:
        return None
    if verdict.kind is not VerdictKind.HARNESS_ERROR and verdict.first_divergence is not None:
        cause = verdict.diagnoses[0].cause if verdict.diagnoses else ""
        return FindingKey(str(verdict.first_divergence), cause)
    if verdict.kind is VerdictKind.MISMATCH:
        return FindingKey("refusal", normalize_message(verdict.reference.message))
    return FindingKey(str(verdict.kind), normalize_message(verdict.reason))


def normalize_message(message: str) -> str:
    """Return the first line of a message without its case-specific parts: numbers, quotations, lists."""
    line = message.strip().partition("\n")[0]
    for pattern, replacement in (
        (r"'[^']*'|\"[^\"]*\"|`[^`]*`", "..."),
        (r"\[[^\]]*\]|\{[^}]*\}|\([^)]*\)|[\[{(].*", "(...)"),
        (r"-?\d+(\.\d+)?(e-?\d+)?", "N"),
    ):
        line = re.sub(pattern, replacement, line)
    return line[:_MAX_MESSAGE_LENGTH]
