"""What came of the replays, as it is written to ``replays.json``."""

from __future__ import annotations

from vlm_parity.releases.answer import ReleaseAnswer
from vlm_parity.replay.catalogue import ReleaseRole, Replay
from vlm_parity.schema.record import Record
from vlm_parity.schema.verdict import VerdictKind

REPLAYS_FILE = "replays.json"


class StatedValue(Record):
    """A value that the replay states, and what was found."""

    place: str
    side: str
    """A release, or ``reference``."""
    stated: str
    found: str
    is_correct: bool


class ReleaseRow(Record):
    """One release of a replay: what it had to show, and what it did."""

    role: ReleaseRole
    answer: ReleaseAnswer
    expected_stage: str
    expected_cause: str
    values: tuple[StatedValue, ...] = ()

    @property
    def flagged(self) -> bool:
        """Whether it was found to differ."""
        return self.answer.kind is VerdictKind.MISMATCH

    @property
    def is_stage_correct(self) -> bool:
        return self.flagged and self.answer.stage == self.expected_stage

    @property
    def is_cause_correct(self) -> bool:
        return self.flagged and self.answer.cause == self.expected_cause

    @property
    def clean(self) -> bool:
        """Whether all that was compared is the same."""
        return self.answer.kind is VerdictKind.MATCH

    @property
    def are_values_correct(self) -> bool:
        return all(value.is_correct for value in self.values)

    @property
    def good(self) -> bool:
        """Whether it showed what it had to."""
        shown = self.is_stage_correct and self.is_cause_correct if self.role == "buggy" else self.clean
        return shown and self.are_values_correct


class ReplayRow(Record):
    """One replay, as far as it has come."""

    replay: Replay
    rows: tuple[ReleaseRow, ...] = ()
    problem: str = ""
    """Why it could not be replayed."""
    reference: ReleaseAnswer | None = None
    """Where the reference answers in an environment of its own: that."""

    @property
    def finished(self) -> bool:
        return len(self.rows) == len(self.replay.releases)

    @property
    def good(self) -> bool:
        return self.finished and not self.problem and all(row.good for row in self.rows)

    @property
    def answers(self) -> tuple[ReleaseAnswer, ...]:
        """Of every release, and of the reference where it answers by itself."""
        return (*(row.answer for row in self.rows), *([self.reference] if self.reference else []))

    @property
    def unanswered(self) -> tuple[ReleaseAnswer, ...]:
        """What could not be asked."""
        return tuple(answer for answer in self.answers if not answer.has_verdict)

    def of(self, role: ReleaseRole) -> tuple[ReleaseRow, ...]:
        return tuple(row for row in self.rows if row.role == role)


class ReplayRecord(Record):
    """All replays of one invocation."""

    rows: tuple[ReplayRow, ...]
    expected: int
    seconds: float
    """Wall time."""
    bytes: int
    """Of the environments that were used, what is shared counted once."""

    @property
    def passes(self) -> bool:
        return len(self.rows) == self.expected and all(row.good for row in self.rows)

    @property
    def answered(self) -> bool:
        """Whether everything that was to be asked gave an answer."""
        whole = len(self.rows) == self.expected and all(row.finished for row in self.rows)
        return whole and not any(row.problem or row.unanswered for row in self.rows)
