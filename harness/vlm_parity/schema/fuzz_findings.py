"""What the fuzzer found, as it is written to ``fuzz.json``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from vlm_parity.schema.record import Record
from vlm_parity.schema.verdict import Verdict, VerdictKind

FUZZ_SCHEMA = 2
FUZZ_FILE = "fuzz.json"
_MAX_MESSAGE_LENGTH = 120


class FindingKey(NamedTuple):
    """What makes two failing examples of one model in one engine the same finding."""

    failed_property: str
    """The property: the first stage that differs, ``refusal``, ``error``, ``crash``, ``invalid``, ``again``,
    ``in a batch``, ``unclear refusal``."""
    cause: str
    """The surest diagnosis; of a failure, what was said, without its numbers and names."""


class FuzzFinding(Record):
    """One difference, with the smallest case that shows it."""

    model: str
    backend: str
    failed_property: str
    """See ``Key``."""
    cause: str
    """See ``Key``; empty where no rule explains it."""
    case: str
    """The name of the shrunk case: its file is ``cases/<name>.yaml`` in the part's folder."""
    shard: str
    kind: VerdictKind
    """Of the verdict on the shrunk case, in the light of the ledger."""
    message: str
    """What differs, or was said, in the shrunk case."""
    known: str = ""
    """The ledger's words on it."""
    seed: int
    """Of the round that found it."""
    examples: int
    """How many had been asked when it was found."""
    duplicates: int = 0
    """How many later examples showed the same."""
    not_shrunk_reason: str = ""
    """Why it may not be the smallest case; empty where Hypothesis came to its end."""
    reproduce: str

    @property
    def passes(self) -> bool:
        """Whether it lets a release through."""
        return self.kind.passes


class FuzzSummary(Record):
    """One model in one engine."""

    model: str
    backend: str
    fault: str = ""
    """What was planted in the engine."""
    profile: str
    seed: int
    """Of the first round; the next one has the next number."""
    rounds: int = 0
    examples: int = 0
    """That were asked to find something."""
    shrinking: int = 0
    """That were asked to make a finding smaller."""
    repeated: int = 0
    """Examples that were asked of the engine again, after others and where it can in a batch."""
    outcomes: dict[str, int] = {}
    """The examples by what came of them: a verdict, or ``finding`` where the property was broken before."""
    seconds: float = 0.0
    """Of asking and comparing, without loads."""
    load_seconds: float = 0.0
    loads: int = 0
    """Children that were started, both sides."""
    packages: dict[str, str] = {}
    problem: str = ""
    """What ended it early."""
    finished: bool = False

    @property
    def rate(self) -> float:
        """Examples a second, those of shrinking included."""
        asked = self.examples + self.shrinking
        return asked / self.seconds if self.seconds else 0.0


class FuzzRecord(Record):
    """What one part of a run has fuzzed, or all parts together."""

    schema_version: int = FUZZ_SCHEMA
    fuzzed: tuple[FuzzSummary, ...] = ()
    findings: tuple[FuzzFinding, ...] = ()

    @property
    def examples(self) -> int:
        """All that were asked to find something."""
        return sum(one.examples for one in self.fuzzed)

    @property
    def passes(self) -> bool:
        """Whether nothing new was found, and nothing ended early."""
        whole = all(one.finished and not one.problem for one in self.fuzzed)
        return whole and all(finding.passes for finding in self.findings)


def merge_fuzz_records(records: Iterable[FuzzRecord]) -> FuzzRecord:
    """Several parts as one."""
    parts = list(records)
    return FuzzRecord(
        fuzzed=tuple(one for shard in parts for one in shard.fuzzed),
        findings=tuple(one for shard in parts for one in shard.findings),
    )


def get_finding_key(verdict: Verdict) -> FindingKey | None:
    """What a verdict breaks; None where it breaks nothing."""
    if verdict.kind in {VerdictKind.MATCH, VerdictKind.REFUSED, VerdictKind.UNSUPPORTED}:
        return None
    if verdict.first_divergence is not None:
        cause = verdict.diagnoses[0].cause if verdict.diagnoses else ""
        return FindingKey(str(verdict.first_divergence), cause)
    if verdict.kind is VerdictKind.MISMATCH:
        return FindingKey("refusal", normalize_message(verdict.reference.message))
    return FindingKey(str(verdict.kind), normalize_message(verdict.reason))


def normalize_message(words: str) -> str:
    """The first line of what was said, without what differs from case to case: numbers, quoted texts,
    lists.
    """
    line = words.strip().partition("\n")[0]
    for pattern, instead in (
        (r"'[^']*'|\"[^\"]*\"|`[^`]*`", "..."),
        (r"\[[^\]]*\]|\{[^}]*\}|\([^)]*\)|[\[{(].*", "(...)"),
        (r"-?\d+(\.\d+)?(e-?\d+)?", "N"),
    ):
        line = re.sub(pattern, instead, line)
    return line[:_MAX_MESSAGE_LENGTH]
