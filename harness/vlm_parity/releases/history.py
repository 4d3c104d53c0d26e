"""Many releases asked about the same cases: what ``parity history`` and ``parity bisect`` write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vlm_parity.backends.registry import REFERENCE_BACKEND
from vlm_parity.releases.answer import ReleaseAnswer
from vlm_parity.releases.environment import LogLine
from vlm_parity.releases.query import ReleaseQuery, run_release
from vlm_parity.schema.record import Record

HISTORY_FILE = "history.json"


class History(Record):
    """Answers by release."""

    title: str
    command: str
    backend: str
    varied: str
    """Whose releases they are: the backend's, or transformers' under one release of the backend."""
    held: dict[str, str]
    """Versions that stay the same, by distribution."""
    model: str
    cases: tuple[str, ...]
    releases: tuple[str, ...]
    """All in question, in order; a bisection asks some of them only."""
    answers: tuple[ReleaseAnswer, ...]
    """In the order in which they were given. ``Answer.release`` is of what is varied."""
    expected: int
    """How many releases it set out to ask; a bisection finds out as it goes."""
    result: str = ""
    """What a bisection found, in a sentence."""
    seconds: float = 0.0
    bytes: int = 0
    """Of the environments, what is shared counted once."""

    def of(self, release: str, case: str) -> ReleaseAnswer | None:
        """The answer of a release on a case."""
        return next((each for each in self.answers if (each.release, each.case) == (release, case)), None)

    @property
    def unanswered(self) -> tuple[ReleaseAnswer, ...]:
        """What could not be asked."""
        return tuple(answer for answer in self.answers if not answer.has_verdict)

    def is_first_changed(self, release: str, case: str) -> bool:
        """Whether the outcome of a case is another one than in the release before it that gave an answer."""
        answer = self.of(release, case)
        before = [
            earlier
            for each in self.releases[: self.releases.index(release)]
            if (earlier := self.of(each, case)) is not None and earlier.has_verdict
        ]
        return bool(answer and answer.has_verdict and before and before[-1].outcome != answer.outcome)


@dataclass(frozen=True)
class ReleaseSeries:
    """The releases along which it goes: of a backend, or of transformers under one release of it."""

    question: ReleaseQuery
    run: Path
    varied: str
    release: str | None = None
    """The backend's, where transformers is varied."""
    reference: str | None = None
    """The release of transformers that is the reference, where it is not each environment's own."""

    def ask(self, version: str, say: LogLine) -> list[ReleaseAnswer]:
        """The answers of one version, one a case."""
        if self.release is None:
            return run_release(self.question, version, self.run, f"{self.varied}-{version}", say)
        question = replace(self.question, chosen={**self.question.chosen, self.varied: version})
        shard = f"{self.question.backend}-{self.release}-{self.varied}-{version}"
        answers = run_release(question, self.release, self.run, shard, say)
        return [answer.model_copy(update={"release": version}) for answer in answers]

    def with_reference(self, say: LogLine) -> tuple[ReleaseSeries, list[ReleaseAnswer]]:
        """The line with the reference's traces captured, and what its environment answered."""
        if self.reference is None:
            return self, []
        alone = replace(self.question, backend=REFERENCE_BACKEND, chosen={})
        shard = f"reference-{self.reference}"
        answers = run_release(alone, self.reference, self.run, shard, say)
        question = replace(self.question, reference_traces=self.run / "shards" / shard)
        return replace(self, question=question), answers

    @property
    def held(self) -> Mapping[str, str]:
        """The versions that were chosen and stay."""
        backend = {self.question.backend: self.release} if self.release is not None else {}
        reference = (
            {f"{REFERENCE_BACKEND} (the reference)": self.reference} if self.reference is not None else {}
        )
        return {**backend, **self.question.chosen, **reference}
