"""The matrix of a run: models and modalities against backends and the ways in, a verdict in every cell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from vlm_parity.models.registry import FAMILIES, load_family
from vlm_parity.report.entries import ShardEntry, VerdictEntry
from vlm_parity.report.load_run import SEVERITY_ORDER, LoadedRun
from vlm_parity.report.summary import VerdictCounts
from vlm_parity.schema.trace import Depth, Stage
from vlm_parity.schema.verdict import VerdictKind

TEXT, MIXED = "text", "mixed"
KINDS = (TEXT, "image", "video", "audio", MIXED)
"""What a case may hold: no medium, media of one modality, or of several."""

AGREEMENT = frozenset({VerdictKind.MATCH, VerdictKind.REFUSED})
"""The kinds in which there is nothing to tell of."""


@dataclass(frozen=True)
class MatrixRow:
    """One model and what its cases hold."""

    model: str
    kind: str
    """One of ``KINDS``."""
    taken: bool
    """Whether the model's family has the modality; True where the family is not known."""
    cells: dict[str, tuple[VerdictEntry, ...]]
    """By way, those that have a verdict."""

    def counts(self, way: str) -> VerdictCounts | None:
        """What came of one cell; None where it has no verdict."""
        filed = self.cells.get(way, ())
        return VerdictCounts.of(each.verdict for each in filed) if filed else None


@dataclass(frozen=True)
class MatrixDifference:
    """Verdicts that are no agreement: of one way and kind, at one stage, for one reason."""

    way: str
    verdict: VerdictKind
    stage: Stage | None
    description: str
    """The ledger's words, the cause that a rule found, or the verdict's own reason."""
    verdicts: tuple[VerdictEntry, ...]

    @property
    def models(self) -> list[tuple[str, list[VerdictEntry]]]:
        """Its verdicts, model by model."""
        return [
            (model, list(same)) for model, same in groupby(self.verdicts, key=lambda each: each.verdict.model)
        ]


@dataclass(frozen=True)
class Matrix:
    """All cells of a run."""

    ways: tuple[str, ...]
    """Each backend with its ways in and variants."""
    rows: tuple[MatrixRow, ...]
    differences: tuple[MatrixDifference, ...]
    """The worst first, then the frequent before the rare."""

    @property
    def models(self) -> list[tuple[str, list[MatrixRow]]]:
        """The rows of each model."""
        return [(model, list(rows)) for model, rows in groupby(self.rows, key=lambda row: row.model)]


def build_matrix(run: LoadedRun) -> Matrix:
    """Sorts the verdicts of a run into its cells; of a case that was compared at several depths, the
    deepest.
    """
    deepest = _deepest_runs(run)
    found: dict[tuple[str, str], dict[str, list[VerdictEntry]]] = {}
    families: dict[str, str] = {}
    for shard in run.shards:
        for filed in shard.verdicts:
            if filed.page not in deepest:
                continue
            cells = found.setdefault((filed.verdict.model, _kind(shard, filed)), {})
            cells.setdefault(filed.verdict.label, []).append(filed)
        families |= {
            name: info.family for name, info in (shard.record.models if shard.record else {}).items()
        }
    models = _in_order({model for model, _ in found})
    rows = [
        MatrixRow(model, kind, _supports(families.get(model), kind), _cells(found.get((model, kind), {})))
        for model in models
        for kind in KINDS
    ]
    ways = tuple(sorted({way for row in rows for way in row.cells}))
    return Matrix(ways, tuple(rows), tuple(_differences(rows)))


def _deepest_runs(run: LoadedRun) -> set[str]:
    """The pages of the verdicts that are at the greatest depth of their (model, way, case)."""
    found: dict[tuple[str, str, str], list[VerdictEntry]] = {}
    for filed in run.verdicts:
        verdict = filed.verdict
        found.setdefault((verdict.model, verdict.label, verdict.case), []).append(filed)
    depths = list(Depth)
    kept: set[str] = set()
    for same in found.values():
        depth = max((each.verdict.depth for each in same), key=depths.index)
        kept.update(each.page for each in same if each.verdict.depth == depth)
    return kept


def _kind(shard: ShardEntry, filed: VerdictEntry) -> str:
    case = shard.case(filed.verdict.case)
    modalities = case.modalities if case else ()
    if len(modalities) > 1:
        return MIXED
    return modalities[0] if modalities else TEXT


def _in_order(models: set[str]) -> list[str]:
    """The families as they are registered, then the others."""
    return [name for name in FAMILIES if name in models] + sorted(models - set(FAMILIES))


def _supports(family: str | None, kind: str) -> bool:
    if family not in FAMILIES or kind == TEXT:
        return True
    modalities = load_family(family).modalities
    return len(modalities) > 1 if kind == MIXED else kind in modalities


def _cells(found: dict[str, list[VerdictEntry]]) -> dict[str, tuple[VerdictEntry, ...]]:
    return {way: tuple(sorted(filed, key=lambda each: each.verdict.case)) for way, filed in found.items()}


def _differences(rows: Iterable[MatrixRow]) -> list[MatrixDifference]:
    groups: dict[tuple[str, VerdictKind, Stage | None, str], list[VerdictEntry]] = {}
    for row in rows:
        for filed in (each for cell in row.cells.values() for each in cell):
            verdict = filed.verdict
            if verdict.kind not in AGREEMENT:
                key = (verdict.label, verdict.kind, verdict.first_divergence, _words(filed))
                groups.setdefault(key, []).append(filed)
    found = [MatrixDifference(*key, tuple(same)) for key, same in groups.items()]
    return sorted(found, key=lambda each: (SEVERITY_ORDER.index(each.verdict), -len(each.verdicts)))


def _words(filed: VerdictEntry) -> str:
    verdict = filed.verdict
    if verdict.known:
        return verdict.known
    return verdict.diagnoses[0].cause if verdict.diagnoses else verdict.reason
