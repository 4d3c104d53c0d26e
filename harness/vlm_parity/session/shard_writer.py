"""Folder of one shard of a run.

Verdicts are written as they come, so a session that is cut off keeps what it has.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from vlm_parity.media.thumbnail import render_thumbnails
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.content import compute_checkpoint_digest
from vlm_parity.schema.case import Case
from vlm_parity.schema.record import write_atomically, write_record
from vlm_parity.schema.run import ModelInfo, Shard
from vlm_parity.schema.run_layout import SHARD_RECORD, get_verdict_path
from vlm_parity.schema.shard_folder import ShardHold
from vlm_parity.schema.share import Share
from vlm_parity.schema.verdict import Verdict
from vlm_parity.session.lock import describe_lock
from vlm_parity.util.clock import format_record_time
from vlm_parity.util.phase_clock import PhaseClock


class ShardWriter:
    """Writes one shard of a run."""

    def __init__(
        self, folder: Path, command: str, cases: dict[str, Case], share: Share | None = None
    ) -> None:
        self.folder = folder
        self._command = command
        self._share = share
        self._cases = cases
        self._models: dict[str, ModelInfo] = {}
        self.clock = PhaseClock("session")
        self._backends: tuple[str, ...] = ()
        self._expected = 0
        self._examples = 0
        self._fuzz_targets = 0
        self._failed_tests: tuple[str, ...] = ()
        self._known_issues: dict[str, int] = {}
        self._issue_descriptions: dict[str, str] = {}
        self._failures: dict[str, str] = {}
        self._started = format_record_time(datetime.now(UTC))
        self._hold: ShardHold | None = None

    def add_expected(self, verdicts: int) -> None:
        """Add to the number of verdicts that the session will write; stored with the next change."""
        self._expected += verdicts

    def hold(self) -> None:
        """Keep other sessions from using the folder, until ``finish`` or ``release``.

        Raises:
            UsageError: another session is using it, or it exists and is no shard.
        """
        if self._hold is None:
            self._hold = ShardHold(self.folder)

    def release(self) -> None:
        """Let other sessions use the folder."""
        if self._hold is not None:
            self._hold.release()
            self._hold = None

    def start(self, backends: Iterable[str]) -> None:
        """Start an empty shard with its thumbnails; an earlier shard of the name is replaced.

        Raises:
            CaseError, MediaError: a media item of a case cannot be read; an earlier shard is kept.
            UsageError: as ``hold``.
        """
        self._backends = tuple(backends)
        self.hold()
        assert self._hold is not None
        thumbnails = {
            name: render_thumbnails(case)
            for name, case in self._cases.items()
            if case.max_size_modality is None  # the engine names that medium later
        }
        self._hold.clear()
        self._write(None)
        for name, images in thumbnails.items():
            self._write_thumbnails(name, images)

    def add_case(self, case: Case) -> None:
        """Add a case that the session generated, with its thumbnails, and expect a verdict on it.

        Raises:
            MediaError: a media item of the case cannot be read.
        """
        self._cases = {**self._cases, case.name: case}
        self._expected += 1
        self._write_thumbnails(case.name, render_thumbnails(case))
        self._write(None)

    def _write_thumbnails(self, case: str, thumbnails: Iterable[bytes | str]) -> None:
        """Write each thumbnail, or the reason why there is none."""
        folder = self.folder / "media" / case
        for index, thumbnail in enumerate(thumbnails):
            if isinstance(thumbnail, str):
                write_atomically(folder / f"{index}.txt", thumbnail.encode())
            else:
                write_atomically(folder / f"{index}.png", thumbnail)

    def add_examples(self, count: int) -> None:
        """Add to the number of compared examples without a verdict; stored with the next change."""
        self._examples += count

    def add_fuzz_target(self) -> None:
        """Add a model in a backend that the session begins to fuzz."""
        self._fuzz_targets += 1
        self._write(None)

    def set_failed_tests(self, ids: Iterable[str]) -> None:
        """Set the failed tests that no verdict and no finding explains; stored with the next change."""
        self._failed_tests = tuple(ids)

    def finish(self) -> None:
        """Mark the shard as finished, and release it."""
        self._write(format_record_time(datetime.now(UTC)))
        self.release()

    def add_model(self, checkpoint: Checkpoint, weights: bool) -> None:
        """Add a model under test.

        Args:
            checkpoint: its files.
            weights: the session loads the weights, too.
        """
        self.add_model_info(
            ModelInfo(
                name=checkpoint.name,
                family=checkpoint.family,
                source=checkpoint.source,
                digest=compute_checkpoint_digest(checkpoint.path, weights),
            )
        )

    def add_model_info(self, info: ModelInfo) -> None:
        """Add a model under test by its identity."""
        self._models[info.name] = info
        self._write(None)

    def has_model(self, name: str) -> bool:
        """Return whether a model was added."""
        return name in self._models

    def set_issue_descriptions(self, descriptions: dict[str, str]) -> None:
        """Set the known issues that are applied, by name; stored with the next change."""
        self._issue_descriptions = descriptions

    def set_known_issues(self, match_counts: dict[str, int]) -> None:
        """Set the number of verdicts that each known issue matches; stored with the next change."""
        self._known_issues = match_counts

    def add_failure(self, name: str, error: Exception) -> None:
        """Add the error that ended a comparison before it began."""
        self._failures[name] = str(error) or type(error).__name__
        self._write(None)

    def get_log_path(self, model: str, label: str) -> Path:
        """Return the path of an engine's output; ``label`` names the backend or the reference."""
        return self.folder / "logs" / f"{model}-{label}.log"

    def get_trace_folder(self, model: str, label: str, case: str) -> Path:
        """Return the folder of a trace; ``label`` as for ``get_log_path``."""
        return self.folder / "traces" / model / label / case

    def write_verdict(self, verdict: Verdict) -> None:
        """Write one verdict."""
        write_record(get_verdict_path(self.folder, verdict), verdict)

    def _write(self, finished: str | None) -> None:
        shard = Shard(
            name=self.folder.name,
            started=self._started,
            finished=finished,
            command=self._command,
            backends=self._backends,
            lock=describe_lock(),
            share=self._share,
            cases=self._cases,
            models=self._models,
            expected=self._expected,
            examples=self._examples,
            seconds=self.clock.read(),
            known_issues=self._known_issues,
            issue_descriptions=self._issue_descriptions,
            fuzz_targets=self._fuzz_targets,
            failed_tests=self._failed_tests,
            failures=self._failures,
        )
        write_record(self.folder / SHARD_RECORD, shard)
