"""The folder of one part of a run: where everything lies, and what is written when.

Verdicts are written as they come, so a session that is cut off leaves all that it had.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from vlm_parity.media.load import load_media
from vlm_parity.media.thumbnail import render_thumbnail
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case
from vlm_parity.schema.record import write_atomically, write_record
from vlm_parity.schema.run import ModelInfo, Shard
from vlm_parity.schema.run_layout import get_verdict_path
from vlm_parity.schema.verdict import Verdict


class ShardWriter:
    """Writes one part of a run."""

    def __init__(self, folder: Path, command: str, cases: dict[str, Case]) -> None:
        self.folder = folder
        self._command = command
        self._cases = cases
        self._models: dict[str, ModelInfo] = {}
        self._seconds: dict[str, float] = defaultdict(float)
        self._backends: tuple[str, ...] = ()
        self._expected = 0
        self._examples = 0
        self._known_issues: dict[str, int] = {}
        self._stopped: dict[str, str] = {}
        self._started = _now()

    def expect(self, verdicts: int) -> None:
        """Notes that the session sets out to give so many more; it is written with the next change."""
        self._expected += verdicts

    def begin(self, backends: Iterable[str]) -> None:
        """Starts the part afresh, with its thumbnails.

        Raises:
            MediaError: a case holds a medium that cannot be read.
        """
        self._backends = tuple(backends)
        if self.folder.exists():
            shutil.rmtree(self.folder)
        for case in self._cases.values():
            if case.max_size_modality is None:  # nobody has said yet what that is
                self._write_thumbnails(case)
        self._write(None)

    def add_case(self, case: Case) -> None:
        """Adds a case that turned up on the way, with its thumbnails, and the verdict that is to come of it.

        Raises:
            MediaError: it holds a medium that cannot be read.
        """
        self._cases = {**self._cases, case.name: case}
        self._expected += 1
        self._write_thumbnails(case)
        self._write(None)

    def _write_thumbnails(self, case: Case) -> None:
        for index, medium in enumerate(load_media(case)):
            write_atomically(self.folder / "media" / case.name / f"{index}.png", render_thumbnail(medium))

    def add_examples(self, count: int) -> None:
        """Notes how many examples were compared that have no verdict of their own; it is written with the
        next change.
        """
        self._examples += count

    def finish(self) -> None:
        """Marks the part as whole."""
        self._write(_now())

    def add_model(self, checkpoint: Checkpoint) -> None:
        """Notes what is tested."""
        info = ModelInfo(name=checkpoint.name, family=checkpoint.family, source=checkpoint.source)
        self._models[checkpoint.name] = info
        self._write(None)

    def add_seconds(self, name: str, seconds: float) -> None:
        """Notes wall time; it is written with the next change."""
        self._seconds[name] += seconds

    def set_known_issues(self, fitted: dict[str, int]) -> None:
        """Notes how many verdicts each entry of the ledger fits; it is written with the next change."""
        self._known_issues = fitted

    def add_failure(self, what: str, problem: Exception) -> None:
        """Notes what ended a comparison before it began."""
        self._stopped[what] = str(problem) or type(problem).__name__
        self._write(None)

    def log(self, model: str, label: str) -> Path:
        """Where an engine's output goes; ``label`` names the backend in its setup, or is ``REFERENCE``."""
        return self.folder / "logs" / f"{model}-{label}.log"

    def trace(self, model: str, label: str, case: str) -> Path:
        """The folder of a trace."""
        return self.folder / "traces" / model / label / case

    def write_verdict(self, verdict: Verdict) -> None:
        """Writes one verdict."""
        write_record(get_verdict_path(self.folder, verdict), verdict)

    def _write(self, finished: str | None) -> None:
        shard = Shard(
            name=self.folder.name,
            started=self._started,
            finished=finished,
            command=self._command,
            backends=self._backends,
            cases=self._cases,
            models=self._models,
            expected=self._expected,
            examples=self._examples,
            seconds=dict(self._seconds),
            known_issues=self._known_issues,
            failures=self._stopped,
        )
        write_record(self.folder / "shard.json", shard)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
