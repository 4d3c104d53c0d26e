"""The matrix of a run: models and modalities by backends, modes and entry points."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, groupby

from vlm_parity.models.registry import FAMILIES, load_family
from vlm_parity.report.entries import ShardEntry, VerdictEntry
from vlm_parity.report.load_run import SEVERITY_ORDER, LoadedRun
from vlm_parity.report.summary import VerdictCounts
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Verdict, VerdictKind

TEXT, MIXED = "text", "mixed"
KINDS = (TEXT, "image", "video", "audio", MIXED)
"""Content kinds of cases: no medium, media of one modality, media of several."""

AGREEMENT = frozenset({VerdictKind.MATCH, VerdictKind.REFUSED})
"""The kinds without a difference to list."""


@dataclass(frozen=True)
class MatrixRow:
    """One model and one content kind of its cases."""

    model: str
    kind: str
    """One of ``KINDS``."""
    is_supported: bool
    """True if the family of the model has the modality, or the family is unknown."""
    cells: dict[str, tuple[VerdictEntry, ...]]
    """The verdicts by label: a backend with its mode and entry point."""

    def counts(self, label: str) -> VerdictCounts | None:
        """Return the counts of one cell; None if it has no verdict."""
        entries = self.cells.get(label, ())
        return VerdictCounts.of(entry.verdict for entry in entries) if entries else None


@dataclass(frozen=True)
class MatrixDifference:
    """Verdicts without agreement that share label, kind, first divergent stage and description."""

    label: str
    verdict: VerdictKind
    stage: Stage | None
    description: str
    """The note of the known issue, the most likely cause, or the reason of the verdict."""
    verdicts: tuple[VerdictEntry, ...]

    @property
    def models(self) -> list[tuple[str, list[VerdictEntry]]]:
        """The verdicts by model."""
        groups = groupby(self.verdicts, key=lambda entry: entry.verdict.model)
        return [(model, list(entries)) for model, entries in groups]


@dataclass(frozen=True)
class Matrix:
    """All cells of a run."""

    labels: tuple[str, ...]
    """Each backend with its modes and entry points."""
    rows: tuple[MatrixRow, ...]
    differences: tuple[MatrixDifference, ...]
    """The worst first, then the most frequent."""

    @property
    def models(self) -> list[tuple[str, list[MatrixRow]]]:
        """The rows by model."""
        return [(model, list(rows)) for model, rows in groupby(self.rows, key=lambda row: row.model)]


def build_matrix(run: LoadedRun) -> Matrix:
    """Build the matrix of a run. Of a case that was compared at several depths, the deepest counts."""
    deepest = _deepest_runs(run)
    entries: dict[tuple[str, str], dict[str, list[VerdictEntry]]] = {}
    families: dict[str, str] = {}
    for shard in run.shards:
        for entry in shard.verdicts:
            if entry.page not in deepest:
                continue
            cells = entries.setdefault((entry.verdict.model, _kind(shard, entry)), {})
            cells.setdefault(entry.verdict.label, []).append(entry)
        families |= {
            name: info.family for name, info in (shard.record.models if shard.record else {}).items()
        }
    models = _sort_models({model for model, _ in entries})
    rows = [
        MatrixRow(
            model, kind, _supports(families.get(model), kind), _sort_cells(entries.get((model, kind), {}))
        )
        for model in models
        for kind in KINDS
    ]
    labels = tuple(sorted({label for row in rows for label in row.cells}))
    return Matrix(labels, tuple(rows), tuple(_differences(rows)))


def _deepest_runs(run: LoadedRun) -> set[str]:
    """Return the pages of the verdicts at the greatest depth of their (model, label, case)."""
    groups: dict[tuple[str, str, str], list[VerdictEntry]] = {}
    for entry in run.verdicts:
        verdict = entry.verdict
        groups.setdefault((verdict.model, verdict.label, verdict.case), []).append(entry)
    depths = list(Depth)
    pages: set[str] = set()
    for entries in groups.values():
        depth = max((entry.verdict.depth for entry in entries), key=depths.index)
        pages.update(entry.page for entry in entries if entry.verdict.depth == depth)
    return pages


def _kind(shard: ShardEntry, entry: VerdictEntry) -> str:
    case = shard.case(entry.verdict.case)
    modalities = case.modalities if case else ()
    if len(modalities) > 1:
        return MIXED
    return modalities[0] if modalities else TEXT


def _sort_models(models: set[str]) -> list[str]:
    """Sort families in the order of their registration, then all other models by name."""
    return [name for name in FAMILIES if name in models] + sorted(models - set(FAMILIES))


def _supports(family: str | None, kind: str) -> bool:
    if family not in FAMILIES or kind == TEXT:
        return True
    modalities = load_family(family).modalities
    return len(modalities) > 1 if kind == MIXED else kind in modalities


def _sort_cells(cells: dict[str, list[VerdictEntry]]) -> dict[str, tuple[VerdictEntry, ...]]:
    return {
        label: tuple(sorted(entries, key=lambda entry: entry.verdict.case))
        for label, entries in cells.items()
    }


def _differences(rows: Iterable[MatrixRow]) -> list[MatrixDifference]:
    groups: dict[tuple[str, VerdictKind, Stage | None, str], list[VerdictEntry]] = {}
    for row in rows:
        for entry in chain.from_iterable(row.cells.values()):
            verdict = entry.verdict
            if verdict.kind not in AGREEMENT:
                key = (verdict.label, verdict.kind, verdict.first_divergence, _describe(verdict))
                groups.setdefault(key, []).append(entry)
    differences = [MatrixDifference(*key, tuple(entries)) for key, entries in groups.items()]
    return sorted(differences, key=lambda item: (SEVERITY_ORDER.index(item.verdict), -len(item.verdicts)))


def _describe(verdict: Verdict) -> str:
    if verdict.known:
        return verdict.known
    return verdict.diagnoses[0].cause if verdict.diagnoses else verdict.reason
