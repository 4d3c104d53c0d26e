"""Runs of many releases on the same cases: the record of ``parity history`` and ``parity bisect``."""

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
    varied_package: str
    """The package whose releases are run: the backend, or transformers under one release of the backend."""
    fixed_versions: dict[str, str]
    """Versions that are the same in every environment, by distribution."""
    model: str
    cases: tuple[str, ...]
    releases: tuple[str, ...]
    """All releases to consider, in order; a bisection runs some of them only."""
    answers: tuple[ReleaseAnswer, ...]
    """In the order of the runs. The release of each is one of the varied package."""
    expected: int
    """Number of releases to run; a bisection sets it at its end."""
    result: str = ""
    """The result of a bisection, as a sentence."""
    seconds: float = 0.0
    bytes: int = 0
    """Size of the environments; shared packages count once."""

    def of(self, release: str, case: str) -> ReleaseAnswer | None:
        """Return the answer of a release on a case, if it has been run."""
        return next(
            (answer for answer in self.answers if (answer.release, answer.case) == (release, case)), None
        )

    @property
    def unanswered(self) -> tuple[ReleaseAnswer, ...]:
        """The answers without a verdict."""
        return tuple(answer for answer in self.answers if not answer.has_verdict)

    def has_changed(self, release: str, case: str) -> bool:
        """Return whether the outcome of a case differs from that of the preceding release with a verdict."""
        answer = self.of(release, case)
        preceding = [
            earlier
            for name in self.releases[: self.releases.index(release)]
            if (earlier := self.of(name, case)) is not None and earlier.has_verdict
        ]
        return bool(answer and answer.has_verdict and preceding and preceding[-1].outcome != answer.outcome)


@dataclass(frozen=True)
class ReleaseSeries:
    """Runs of releases that differ in one package: the backend, or transformers under one of its releases."""

    query: ReleaseQuery
    run: Path
    varied_package: str
    release: str | None = None
    """The release of the backend if transformers is varied."""
    reference: str | None = None
    """The release of transformers that is the reference; None for that of each environment."""

    def run_release(self, version: str, log: LogLine) -> list[ReleaseAnswer]:
        """Run one version of the varied package; return an answer for each case."""
        if self.release is None:
            return run_release(self.query, version, self.run, f"{self.varied_package}-{version}", log)
        query = replace(self.query, versions={**self.query.versions, self.varied_package: version})
        shard = f"{self.query.backend}-{self.release}-{self.varied_package}-{version}"
        answers = run_release(query, self.release, self.run, shard, log)
        return [answer.model_copy(update={"release": version}) for answer in answers]

    def capture_reference(self, log: LogLine) -> tuple[ReleaseSeries, list[ReleaseAnswer]]:
        """Capture the traces of the reference, if it has a release of its own.

        Returns:
            The series with these traces, and the answers of the reference's environment.
        """
        if self.reference is None:
            return self, []
        query = replace(self.query, backend=REFERENCE_BACKEND, versions={})
        shard = f"reference-{self.reference}"
        answers = run_release(query, self.reference, self.run, shard, log)
        with_traces = replace(self.query, reference_traces=self.run / "shards" / shard)
        return replace(self, query=with_traces), answers

    @property
    def fixed_versions(self) -> Mapping[str, str]:
        """The versions that are the same in every environment."""
        backend = {self.query.backend: self.release} if self.release is not None else {}
        reference = (
            {f"{REFERENCE_BACKEND} (the reference)": self.reference} if self.reference is not None else {}
        )
        return {**backend, **self.query.versions, **reference}
