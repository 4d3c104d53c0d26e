"""Many releases asked about the same cases: what ``parity history`` and ``parity bisect`` write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vlm_parity.backends.registry import REFERENCE
from vlm_parity.releases.answer import Answer
from vlm_parity.releases.environment import Say
from vlm_parity.releases.query import Question, ask
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
    answers: tuple[Answer, ...]
    """In the order in which they were given. ``Answer.release`` is of what is varied."""
    expected: int
    """How many releases it set out to ask; a bisection finds out as it goes."""
    result: str = ""
    """What a bisection found, in a sentence."""
    seconds: float = 0.0
    bytes: int = 0
    """Of the environments, what is shared counted once."""

    def of(self, release: str, case: str) -> Answer | None:
        """The answer of a release on a case."""
        return next((each for each in self.answers if (each.release, each.case) == (release, case)), None)

    @property
    def unanswered(self) -> tuple[Answer, ...]:
        """What could not be asked."""
        return tuple(answer for answer in self.answers if not answer.is_answer)

    def sets_in(self, release: str, case: str) -> bool:
        """Whether the outcome of a case is another one than in the release before it that gave an answer."""
        answer = self.of(release, case)
        before = [
            earlier
            for each in self.releases[: self.releases.index(release)]
            if (earlier := self.of(each, case)) is not None and earlier.is_answer
        ]
        return bool(answer and answer.is_answer and before and before[-1].outcome != answer.outcome)


@dataclass(frozen=True)
class Line:
    """The releases along which it goes: of a backend, or of transformers under one release of it."""

    question: Question
    run: Path
    varied: str
    release: str | None = None
    """The backend's, where transformers is varied."""
    reference: str | None = None
    """The release of transformers that is the reference, where it is not each environment's own."""

    def ask(self, version: str, say: Say) -> list[Answer]:
        """The answers of one version, one a case."""
        if self.release is None:
            return ask(self.question, version, self.run, f"{self.varied}-{version}", say)
        question = replace(self.question, chosen={**self.question.chosen, self.varied: version})
        part = f"{self.question.backend}-{self.release}-{self.varied}-{version}"
        answers = ask(question, self.release, self.run, part, say)
        return [answer.model_copy(update={"release": version}) for answer in answers]

    def with_reference(self, say: Say) -> tuple[Line, list[Answer]]:
        """The line with the reference's traces captured, and what its environment answered."""
        if self.reference is None:
            return self, []
        alone = replace(self.question, backend=REFERENCE, chosen={})
        part = f"reference-{self.reference}"
        answers = ask(alone, self.reference, self.run, part, say)
        question = replace(self.question, references=self.run / "parts" / part)
        return replace(self, question=question), answers

    @property
    def held(self) -> Mapping[str, str]:
        """The versions that were chosen and stay."""
        backend = {self.question.backend: self.release} if self.release is not None else {}
        reference = {f"{REFERENCE} (the reference)": self.reference} if self.reference is not None else {}
        return {**backend, **self.question.chosen, **reference}
