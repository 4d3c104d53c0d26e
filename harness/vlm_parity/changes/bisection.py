"""The command that bisects a change: the releases between two runs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from itertools import pairwise

from vlm_parity.backends.releases import load_releases
from vlm_parity.changes.classify import Change
from vlm_parity.changes.comparison import Comparison
from vlm_parity.schema.engine_setup import DEFAULT_MODE, Depth, EntryPoint
from vlm_parity.schema.trace import Stage

_REFERENCE = "transformers"


def list_bisections(change: Change) -> tuple[str, ...]:
    """List a ``parity bisect`` command for each package that changed together with a comparison.

    Args:
        change: a comparison in two runs.

    Returns:
        None, one, or two commands: for the engine and for transformers. None if the change is behind the
        front end, which is all that past releases run, or if neither package changed.
    """
    is_front_end = change.stage in set(Stage) and Stage(change.stage).depth is Depth.TOKENS
    if change.baseline is None or change.run is None or not is_front_end:
        return ()
    return tuple(_list_commands(change.baseline, change.run))


def _list_commands(before: Comparison, after: Comparison) -> Iterator[str]:
    backend = after.identity.backend
    distribution = _find_distribution(after, backend)
    engine = _find_releases(before, after, distribution)
    reference = _find_releases(before, after, _REFERENCE)
    if engine is not None:
        held = [f"--pin={_REFERENCE}={reference[0]}"] if reference is not None else []
        yield _build_command(after, engine, held)
    if reference is not None and backend != _REFERENCE:
        release = after.environment.packages.get(distribution, "")
        yield _build_command(after, reference, ["--release", release, "--vary", _REFERENCE])


def _find_distribution(comparison: Comparison, backend: str) -> str:
    """Return the distribution of an engine that is installed: the CPU build may have a name of its own."""
    names = (backend, *(table.name for table in load_releases(backend)))
    return next((name for name in names if name in comparison.environment.packages), backend)


def _find_releases(before: Comparison, after: Comparison, package: str) -> tuple[str, str] | None:
    """Return both releases of a package; None if they are equal or one is unknown."""
    releases = before.environment.packages.get(package), after.environment.packages.get(package)
    if releases[0] is None or releases[1] is None or releases[0] == releases[1]:
        return None
    return releases[0], releases[1]


def _build_command(comparison: Comparison, releases: tuple[str, str], options: list[str]) -> str:
    identity = comparison.identity
    words = ["parity", "bisect", "--backend", identity.backend, *options]
    words += ["--model", _find_model(comparison), "--case", identity.case]
    words += ["--mode", identity.mode] if identity.mode != DEFAULT_MODE else []
    words += ["--entry-point", identity.entry_point] if identity.entry_point is not EntryPoint.CHAT else []
    words += ["--from", releases[0], "--to", releases[1]]
    return shlex.join(words)


def _find_model(comparison: Comparison) -> str:
    """Return the model as the user named it, which the command of the verdict repeats."""
    words = shlex.split(comparison.reproduce)
    named = [word for option, word in pairwise(words) if option == "--model"]
    return named[-1] if named else comparison.identity.model
