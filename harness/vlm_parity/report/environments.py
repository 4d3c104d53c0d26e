"""The environments of both sides of a verdict, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vlm_parity.report.entries import FiledPart
from vlm_parity.schema.trace import Environment

_PACKAGES_FIRST = ("torch", "transformers")


@dataclass(frozen=True)
class Pair:
    """Two environments that met in verdicts of one backend in one variant, and the models they were met
    with."""

    backend: str
    models: tuple[str, ...]
    rows: tuple[tuple[str, str, str], ...]


def environment_rows(reference: Environment, tested: Environment) -> Iterator[tuple[str, str, str]]:
    """Rows of (name, reference, tested): the place, the packages, the settings, the notes."""
    for name in ("python", "platform", "device", "dtype"):
        yield name, getattr(reference, name), getattr(tested, name)
    packages = {*reference.packages, *tested.packages}
    for name in sorted(packages, key=lambda package: (package not in _PACKAGES_FIRST, package)):
        yield name, reference.packages.get(name, ""), tested.packages.get(name, "")
    for name in sorted({*reference.settings, *tested.settings}):
        yield f"setting {name}", _setting(reference, name), _setting(tested, name)
    if reference.notes or tested.notes:
        yield "notes", "\n".join(reference.notes), "\n".join(tested.notes)


def environment_pairs(part: FiledPart) -> list[Pair]:
    """The different pairs of environments of a part; mostly one a backend and variant."""
    models: dict[tuple[str, tuple[tuple[str, str, str], ...]], dict[str, None]] = {}
    for filed in part.verdicts:
        verdict = filed.verdict
        rows = tuple(environment_rows(verdict.reference.environment, verdict.tested.environment))
        models.setdefault((verdict.label, rows), {})[verdict.model] = None
    return [Pair(backend, tuple(met), rows) for (backend, rows), met in models.items()]


def _setting(environment: Environment, name: str) -> str:
    return str(environment.settings[name]) if name in environment.settings else ""
