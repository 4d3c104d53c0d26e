"""The two traces of a comparison, and helpers that all stages use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from vlm_parity.schema.noise_floor import NoiseFloor, StageNoise
from vlm_parity.schema.trace import Stage, Trace
from vlm_parity.schema.trace_arrays import ArrayFile
from vlm_parity.schema.verdict import DiffStatus, Evidence, StageDiff
from vlm_parity.util.text import escape_invisible


@dataclass(frozen=True)
class TracePair:
    """The reference trace and the tested trace of one case."""

    reference: Trace
    tested: Trace
    reference_tensors: ArrayFile | None
    tested_tensors: ArrayFile | None
    floor: NoiseFloor | None
    """The noise floor in the dtype of the tested side."""

    def noise(self, stage: Stage) -> StageNoise | None:
        """Return the noise at one stage; None if it was not measured."""
        return self.floor.stages.get(stage) if self.floor else None

    def skip_rows(self, stage: Stage, rows: int) -> TracePair:
        """Return the pair for one stage without the first rows of the reference and their noise.

        The tested side has no such rows, since they came from a prefix cache.
        """
        noise = self.noise(stage)
        if not rows or self.reference_tensors is None or self.floor is None or noise is None:
            return self
        remaining = {stage: StageNoise(noise.rms[:, rows:], noise.largest[:, rows:])}
        floor = replace(self.floor, stages=remaining)
        return replace(self, reference_tensors=self.reference_tensors.skip_rows(rows), floor=floor)

    def keep_rows(self, stage: Stage, rows: int) -> TracePair:
        """Return the pair for one stage with the first rows of both sides and of their noise only."""
        left, right, noise = self.reference_tensors, self.tested_tensors, self.noise(stage)
        assert left is not None, "compare_stages checks it"
        assert right is not None, "compare_stages checks it"
        assert noise is not None, "compare_stages checks it"
        assert self.floor is not None, "compare_stages checks it"
        remaining = {stage: StageNoise(noise.rms[:, :rows], noise.largest[:, :rows])}
        return replace(
            self,
            reference_tensors=left.keep_rows(rows),
            tested_tensors=right.keep_rows(rows),
            floor=replace(self.floor, stages=remaining),
        )

    def token(self, token: int) -> str:
        """Return the text of an id, preferably according to the reference."""
        known = self.reference.vocabulary.get(token, self.tested.vocabulary.get(token))
        return "(no text)" if known is None else known

    def run(self, token: int, count: int) -> str:
        """Format a run of one id for people: ``<|image_pad|> x 88 (151655)``."""
        times = f" x {count}" if count > 1 else ""
        return f"{escape_invisible(self.token(token))}{times} ({token})"


def build_match(stage: Stage, metrics: dict[str, float | int], evidence: Evidence | None = None) -> StageDiff:
    """Build the diff of a stage that matches."""
    return StageDiff(stage=stage, status=DiffStatus.MATCH, metrics=metrics, evidence=evidence)


def build_mismatch(
    stage: Stage, message: str, metrics: dict[str, float | int], evidence: Evidence | None = None
) -> StageDiff:
    """Build the diff of a stage that differs."""
    return StageDiff(
        stage=stage, status=DiffStatus.MISMATCH, message=message, metrics=metrics, evidence=evidence
    )


def build_not_compared(stage: Stage, reason: str) -> StageDiff:
    """Build the diff of a stage that could not be compared."""
    return StageDiff(stage=stage, status=DiffStatus.NOT_COMPARED, message=reason)


def format_table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Format aligned columns of text; the first column is right-aligned."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column == 0 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
