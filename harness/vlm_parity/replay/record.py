"""The results of replays, as they are stored in ``replays.json``."""

from __future__ import annotations

from vlm_parity.releases.answer import ReleaseAnswer
from vlm_parity.replay.catalog import ReleaseRole, Replay
from vlm_parity.schema.record import Record
from vlm_parity.schema.verdict import VerdictKind

REPLAYS_FILE = "replays.json"


class ExpectedValue(Record):
    """A value that the replay expects, and the actual one."""

    location: str
    """Part of a trace, such as ``input_ids[15:103]``."""
    backend: str
    """A release, or ``reference``."""
    expected: str
    actual: str
    is_correct: bool


class ReleaseRow(Record):
    """One release of a replay: the expected and the actual verdict."""

    role: ReleaseRole
    answer: ReleaseAnswer
    expected_stage: str
    expected_cause: str
    values: tuple[ExpectedValue, ...] = ()

    @property
    def is_flagged(self) -> bool:
        """True if the verdict is a mismatch."""
        return self.answer.kind is VerdictKind.MISMATCH

    @property
    def is_stage_correct(self) -> bool:
        """True if the release is flagged at the expected stage."""
        return self.is_flagged and self.answer.stage == self.expected_stage

    @property
    def is_cause_correct(self) -> bool:
        """True if the release is flagged with the expected cause."""
        return self.is_flagged and self.answer.cause == self.expected_cause

    @property
    def is_clean(self) -> bool:
        """True if the verdict is a match."""
        return self.answer.kind is VerdictKind.MATCH

    @property
    def are_values_correct(self) -> bool:
        """True if every value is the expected one."""
        return all(value.is_correct for value in self.values)

    @property
    def passes(self) -> bool:
        """True if the verdict and all values are the expected ones."""
        is_expected = (
            self.is_stage_correct and self.is_cause_correct if self.role == "buggy" else self.is_clean
        )
        return is_expected and self.are_values_correct


class ReplayRow(Record):
    """One replay, with the releases that have been run so far."""

    replay: Replay
    rows: tuple[ReleaseRow, ...] = ()
    problem: str = ""
    """The reason why it could not be replayed."""
    reference: ReleaseAnswer | None = None
    """The answer of the reference's environment, if it has one of its own."""

    @property
    def is_finished(self) -> bool:
        """True if every release has been run."""
        return len(self.rows) == len(self.replay.releases)

    @property
    def passes(self) -> bool:
        """True if every release has been run and passes."""
        return self.is_finished and not self.problem and all(row.passes for row in self.rows)

    @property
    def answers(self) -> tuple[ReleaseAnswer, ...]:
        """The answers of all releases, and of the reference if it has an environment of its own."""
        return (*(row.answer for row in self.rows), *([self.reference] if self.reference else []))

    @property
    def unanswered(self) -> tuple[ReleaseAnswer, ...]:
        """The answers without a verdict."""
        return tuple(answer for answer in self.answers if not answer.has_verdict)

    def of(self, role: ReleaseRole) -> tuple[ReleaseRow, ...]:
        """Return the releases of one role."""
        return tuple(row for row in self.rows if row.role == role)


class ReplayRecord(Record):
    """All replays of one invocation."""

    rows: tuple[ReplayRow, ...]
    expected: int
    """Number of replays to run."""
    seconds: float
    """Wall time."""
    bytes: int
    """Size of the environments; shared packages count once."""

    @property
    def passes(self) -> bool:
        """True if every replay has been run and passes."""
        return len(self.rows) == self.expected and all(row.passes for row in self.rows)

    @property
    def is_complete(self) -> bool:
        """True if every release of every replay has a verdict."""
        is_finished = len(self.rows) == self.expected and all(row.is_finished for row in self.rows)
        return is_finished and not any(row.problem or row.unanswered for row in self.rows)
