"""A verdict: all diffs of one (case, model, backend) and what follows from them; a run: all verdicts."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from vlm_parity.schema.engine_setup import DEFAULT_MODE, EntryPoint, engine_label
from vlm_parity.schema.record import Record
from vlm_parity.schema.trace import Depth, Stage, Trace

VERDICT_SCHEMA = 4


class DiffStatus(StrEnum):
    """What the comparison of two traces at one stage gave."""

    MATCH = "match"
    MISMATCH = "mismatch"
    NOT_COMPARED = "not compared"


class VerdictKind(StrEnum):
    """The one word for a (case, model, backend)."""

    MATCH = "match"
    MISMATCH = "mismatch"
    KNOWN = "known"
    FIXED = "fixed"
    UNSUPPORTED = "unsupported"
    ERROR = "error"
    REFUSED = "refused"
    CRASH = "crash"
    INVALID = "invalid"

    @property
    def passes(self) -> bool:
        """Whether it lets a release through."""
        return self in {self.MATCH, self.REFUSED, self.KNOWN, self.UNSUPPORTED}


class Hunk(Record):
    """One aligned piece of two sequences of ids, runs of one id collapsed.

    ``reference`` and ``tested`` are lists of (id, count); they are equal where ``equal``.
    """

    equal: bool
    reference_index: int
    tested_index: int
    reference: tuple[tuple[int, int], ...]
    tested: tuple[tuple[int, int], ...]


class SequenceEvidence(Record):
    """Two sequences of ids, aligned. Used by ``input_ids`` and ``greedy``."""

    kind: Literal["sequence"] = "sequence"
    hunks: tuple[Hunk, ...]


class TextEvidence(Record):
    """Where two texts part: the common start is left out, a piece of what follows kept."""

    kind: Literal["text"] = "text"
    index: int
    reference: str
    tested: str


class Candidate(Record):
    """One of the most likely tokens at a position."""

    id: int
    text: str
    logprob: float


class LogitEvidence(Record):
    """Distances of two rows of log-probabilities for every position compared."""

    kind: Literal["logits"] = "logits"
    first_position: int
    """The position of the first row in the sequence (prompt, then continuation)."""
    rule: str
    """What the noise floor was measured from."""
    row_limit_ratios: tuple[float, ...]
    """By how much each position uses up what the noise floor allows: more than 1 is too much."""
    noise: tuple[float, ...]
    """The noise floor at each position: a root mean square, as ``rms`` is."""
    rms: tuple[float, ...]
    max_abs: tuple[float, ...]
    kl: tuple[float, ...]
    top1_equal: tuple[bool, ...]
    worst_position: int
    reference_top: tuple[Candidate, ...]
    """The five most likely tokens of the reference at the worst position."""
    tested_top: tuple[Candidate, ...]


Evidence = Annotated[SequenceEvidence | TextEvidence | LogitEvidence, Field(discriminator="kind")]


class StageDiff(Record):
    """The comparison of two traces at one stage."""

    stage: Stage
    status: DiffStatus
    message: str = ""
    """For a mismatch: what differs and where, readable in a terminal. For a stage that was not
    compared: why. For a match, where there is more to know of it than its metrics: that."""
    metrics: dict[str, float | int] = {}
    evidence: Evidence | None = None
    consequence: bool = False
    """A mismatch that follows an earlier one and is no finding of its own."""


class Diagnosis(Record):
    """Why the two part ways, as one of the rules in ``vlm_parity.diagnosis.registry`` explains it."""

    cause: str
    """The rule's name in plain words, the same for every case: ``pad token used as image token``."""
    explanation: str
    """One or two sentences on this very case, with its numbers, that a maintainer can act on."""
    confidence: float = Field(ge=0, le=1)
    """From 0 to 1: 1 where the evidence leaves no other reading."""


class Verdict(Record):
    """All diffs of one (case, model, backend), and what follows from them."""

    schema_version: int = VERDICT_SCHEMA
    case: str
    model: str
    backend: str
    mode: str = DEFAULT_MODE
    """How the engine ran."""
    entry_point: EntryPoint = EntryPoint.CHAT
    """The API that the case went through."""
    depth: Depth
    kind: VerdictKind
    reason: str = ""
    """One or two sentences; the backend's own words where it refused."""
    first_divergence: Stage | None = None
    diagnoses: tuple[Diagnosis, ...] = ()
    """What explains the first divergence, the surest first; empty on a match, and where no rule does."""
    known: str = ""
    """For ``known`` and ``fixed``: the ledger's words on it, with its upstream link."""
    stages: tuple[StageDiff, ...]
    """One for every stage, in order."""
    reference: Trace
    tested: Trace
    reproduce: str
    """The one command that makes this verdict again."""

    @property
    def label(self) -> str:
        """Name of the backend in its setup: ``vllm``, ``vllm-chunked_prefill``."""
        return engine_label(self.backend, self.mode, self.entry_point)

    def stage(self, stage: Stage) -> StageDiff:
        """The diff of one stage."""
        return next(diff for diff in self.stages if diff.stage == stage)
