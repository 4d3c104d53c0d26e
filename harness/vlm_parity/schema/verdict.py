"""Verdicts: all diffs of one (case, model, backend) with the conclusion drawn from them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field

from vlm_parity.schema.condition import Condition
from vlm_parity.schema.engine_setup import DEFAULT_MODE, Depth, EntryPoint, engine_label
from vlm_parity.schema.location import Location
from vlm_parity.schema.record import Count, Record
from vlm_parity.schema.repetition import (
    Attempt,
    Repetition,
    describe_attempts,
    describe_repetitions,
    is_infrastructure_failure,
)
from vlm_parity.schema.trace import Stage, Trace

VERDICT_SCHEMA = 9
LEADING_POSITIONS = "leading_positions"
"""The metric of a stage of which only the first positions have a counterpart: their number."""
ALIGNED_POSITIONS = "aligned_positions"
"""The metric of a stage that was compared at the ids that have a counterpart: their number."""
REORDERED_MEDIA = "reordered_media"
"""The metric of a stage that was compared medium by medium, although their order differs: the number of media
at other places."""
_RELATIVE_METRICS = frozenset({LEADING_POSITIONS, ALIGNED_POSITIONS, REORDERED_MEDIA})


class DiffStatus(StrEnum):
    """Result of the comparison of two traces at one stage."""

    MATCH = "match"
    MISMATCH = "mismatch"
    NOT_COMPARED = "not compared"


class VerdictKind(StrEnum):
    """Conclusion for one (case, model, backend)."""

    MATCH = "match"
    MISMATCH = "mismatch"
    UNSTABLE = "unstable"
    """It differs in some passes over the case and not in others."""
    KNOWN = "known"
    FIXED = "fixed"
    UNSUPPORTED = "unsupported"
    ERROR = "error"
    REFUSED = "refused"
    CRASH = "crash"
    INVALID = "invalid"
    HARNESS_ERROR = "harness_error"
    """The harness itself failed; nothing follows about the engine."""

    @property
    def passes(self) -> bool:
        """True if the verdict does not fail a run."""
        return self in {self.MATCH, self.REFUSED, self.KNOWN, self.UNSUPPORTED}


class Hunk(Record):
    """One aligned piece of two sequences of ids, runs of one id collapsed.

    ``reference`` and ``tested`` hold (id, count); they are the same if ``equal`` is true.
    """

    equal: bool
    reference_index: Count
    tested_index: Count
    reference: tuple[tuple[int, Count], ...]
    tested: tuple[tuple[int, Count], ...]


class SequenceEvidence(Record):
    """Two sequences of ids, aligned. Used by ``input_ids`` and ``greedy``."""

    kind: Literal["sequence"] = "sequence"
    hunks: tuple[Hunk, ...]


class TextEvidence(Record):
    """The surroundings of the first difference of two texts."""

    kind: Literal["text"] = "text"
    index: Count
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
    first_position: Count
    """Position of the first row in the sequence (prompt, then continuation)."""
    rule: str
    """Source of the noise floor."""
    row_limit_ratios: tuple[float, ...]
    """Distance at each position as a fraction of the limit; more than 1 is a mismatch."""
    noise: tuple[float, ...]
    """The noise floor at each position: a root mean square, like ``rms``."""
    rms: tuple[float, ...]
    max_abs: tuple[float, ...]
    kl: tuple[float, ...]
    top1_equal: tuple[bool, ...]
    worst_position: Count
    reference_top: tuple[Candidate, ...]
    """The five most likely tokens of the reference at the worst position."""
    tested_top: tuple[Candidate, ...]


Evidence = Annotated[SequenceEvidence | TextEvidence | LogitEvidence, Field(discriminator="kind")]


class StageResult(Record):
    """Result of the comparison of two traces at one stage: its status and its numbers."""

    stage: Stage
    status: DiffStatus
    metrics: dict[str, float | int] = {}
    consequence: bool = False
    """True for a mismatch that may follow from an earlier one and is not a finding of its own."""
    condition: Condition | None = None
    """Values of the reference that the tested side was given; None if it ran on its own."""
    conditioned: Self | None = None
    """The comparison on given values, if an earlier difference flows into this stage and there was one."""

    @property
    def differs(self) -> bool | None:
        """True for a mismatch, False for a match, None if the stage was not compared."""
        return None if self.status is DiffStatus.NOT_COMPARED else self.status is DiffStatus.MISMATCH

    @property
    def is_partial(self) -> bool:
        """True if only the positions in front of the first difference of the ids were compared."""
        return LEADING_POSITIONS in self.metrics

    @property
    def is_relative(self) -> bool:
        """True if the stage was compared up to an earlier difference: a mismatch does not follow from it."""
        return not _RELATIVE_METRICS.isdisjoint(self.metrics)

    @property
    def outflow(self) -> bool | None:
        """True if a difference flows out of the stage, False if none does, None if one that flows in does.

        None is for a stage that was not compared, and for one that matches up to an earlier difference.
        """
        return self.differs or None if self.is_relative else self.differs

    @property
    def independent(self) -> Self | None:
        """The mismatch here that does not follow from an earlier one: this one or that on given values."""
        if self.differs and not self.consequence:
            return self
        return self.conditioned if self.conditioned is not None and self.conditioned.differs else None

    @property
    def is_compared_on_given(self) -> bool:
        """True if the stage was compared on given values, in spite of an earlier difference."""
        return self.conditioned is not None and self.conditioned.differs is not None


class StageDiff(StageResult):
    """The comparison of two traces at one stage, with its explanation."""

    message: str = ""
    """For a mismatch: the difference and its location, for a terminal. For a stage that was not compared: the
    reason. For a match: remarks beyond its metrics."""
    evidence: Evidence | None = None


class Diagnosis(Record):
    """Explanation of one difference by a rule of ``vlm_parity.diagnosis``."""

    stage: Stage
    """The stage that differs."""
    cause: str
    """Name of the cause, the same for every case: ``pad token used as image token``."""
    explanation: str
    """One or two sentences on this case, with its numbers, that a maintainer can act on."""
    confidence: float = Field(ge=0, le=1)
    """From 0 to 1; 1 if the evidence excludes any other cause."""


class Verdict(Record):
    """All diffs of one (case, model, backend), with the conclusion drawn from them."""

    schema_version: int = VERDICT_SCHEMA
    case: str
    model: str
    backend: str
    mode: str = DEFAULT_MODE
    """The mode in which the engine ran."""
    entry_point: EntryPoint = EntryPoint.CHAT
    """The API that received the case."""
    depth: Depth
    kind: VerdictKind
    reason: str = ""
    """One or two sentences; the message of the backend if it refused the case."""
    first_divergence: Stage | None = None
    diagnoses: tuple[Diagnosis, ...] = ()
    """Explanations of the differences, in the order of the stages, for each the most confident first; empty
    for a match, or if no rule applies."""
    locations: tuple[Location, ...] = ()
    """The modules of the model that differ, if they were to be located."""
    attempts: tuple[Attempt, ...] = ()
    """Attempts that failed before the one that this verdict is about."""
    repetitions: tuple[Repetition, ...] = ()
    """More passes over a case that differs, if it was to be repeated."""
    known: str = ""
    """For ``known`` and ``fixed``: the known issues, with their upstream links."""
    stages: tuple[StageDiff, ...]
    """One for every stage, in order."""
    reference: Trace
    tested: Trace
    reproduce: str
    """The command that reproduces this verdict."""

    @property
    def label(self) -> str:
        """Name of the backend in its setup: ``vllm``, ``vllm-chunked_prefill``."""
        return engine_label(self.backend, self.mode, self.entry_point)

    @property
    def passes_note(self) -> str:
        """A sentence on failed attempts and repeated passes; empty for a single pass."""
        has_failed_again = is_infrastructure_failure(self.tested.outcome, self.tested.message)
        notes = [describe_attempts(self.attempts, has_failed_again=has_failed_again)]
        if self.first_divergence is not None:
            notes.append(describe_repetitions(self.first_divergence, self.repetitions))
        return "; ".join(filter(None, notes))

    def stage(self, stage: Stage) -> StageDiff:
        """Return the diff of one stage."""
        return next(diff for diff in self.stages if diff.stage == stage)

    @property
    def differences(self) -> tuple[StageDiff, ...]:
        """The independent mismatches, in order: on the engine's own values, or on given ones."""
        return tuple(found for diff in self.stages if (found := diff.independent) is not None)

    def get_difference(self, stage: Stage) -> StageDiff | None:
        """Return the independent mismatch at one stage, if there is one."""
        return self.stage(stage).independent

    def get_diagnoses(self, stage: Stage | None) -> tuple[Diagnosis, ...]:
        """Return the explanations of the difference at one stage."""
        return tuple(diagnosis for diagnosis in self.diagnoses if diagnosis.stage is stage)
