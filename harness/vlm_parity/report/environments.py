"""The environments of both sides of a verdict, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vlm_parity.report.entries import ShardEntry
from vlm_parity.schema.trace import Environment

_PACKAGES_FIRST = ("torch", "transformers")


@dataclass(frozen=True)
class EnvironmentPair:
    """The environments of both sides of some verdicts of one backend, mode and entry point."""

    backend: str
    models: tuple[str, ...]
    rows: tuple[tuple[str, str, str], ...]


def build_environment_rows(reference: Environment, tested: Environment) -> Iterator[tuple[str, str, str]]:
    """Yield (name, reference, tested): platform, packages, settings, workarounds."""
    for name in ("python", "platform", "device", "dtype"):
        yield name, getattr(reference, name), getattr(tested, name)
    packages = {*reference.packages, *tested.packages}
    for name in sorted(packages, key=lambda package: (package not in _PACKAGES_FIRST, package)):
        yield name, reference.packages.get(name, ""), tested.packages.get(name, "")
    for name in sorted({*reference.settings, *tested.settings}):
        yield f"setting {name}", _setting(reference, name), _setting(tested, name)
    if reference.workarounds or tested.workarounds:
        yield "workarounds", "\n".join(reference.workarounds), "\n".join(tested.workarounds)


def build_environment_pairs(shard: ShardEntry) -> list[EnvironmentPair]:
    """Return the distinct pairs of environments of a shard; usually one for each backend and mode."""
    models: dict[tuple[str, tuple[tuple[str, str, str], ...]], dict[str, None]] = {}
    for entry in shard.verdicts:
        verdict = entry.verdict
        rows = tuple(build_environment_rows(verdict.reference.environment, verdict.tested.environment))
        models.setdefault((verdict.label, rows), {})[verdict.model] = None
    return [EnvironmentPair(backend, tuple(names), rows) for (backend, rows), names in models.items()]


def _setting(environment: Environment, name: str) -> str:
    return str(environment.settings[name]) if name in environment.settings else ""
