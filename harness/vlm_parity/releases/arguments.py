"""What the options of ``parity bisect`` and ``parity history`` mean."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from packaging.version import InvalidVersion, Version

from vlm_parity.backends.registry import REFERENCE_BACKEND, list_backend_targets
from vlm_parity.backends.releases import find_releases
from vlm_parity.releases.checkpoint import build_legacy_folder
from vlm_parity.releases.environment import LogLine
from vlm_parity.releases.history import ReleaseSeries
from vlm_parity.releases.package_index import (
    get_distribution,
    list_published_releases,
    select_releases_between,
    sort_releases,
)
from vlm_parity.releases.query import ReleaseQuery
from vlm_parity.schema.case_file import load_cases
from vlm_parity.schema.engine_setup import EntryPoint
from vlm_parity.util.errors import (
    CaseError,
    EnvironmentBuildError,
    PackageIndexError,
    UnknownModelError,
    UnknownReleaseError,
    UsageError,
)


def get_end_releases(chosen: argparse.Namespace) -> tuple[str, str]:
    """The two releases between which to look, the older one first."""
    by_verdict = [end for end in (getattr(chosen, "good", None), getattr(chosen, "bad", None)) if end]
    by_age = [end for end in (chosen.first, chosen.last) if end]
    ends = by_verdict or by_age
    if len(ends) != 2 or (by_verdict and by_age):
        raise UsageError("name both ends: --from and --to, or in a bisection --good and --bad")
    older, newer = sorted(map(parse_version, ends), key=Version)
    return older, newer


def parse_version(text: str) -> str:
    try:
        Version(text)
    except InvalidVersion:
        raise UsageError(f"{text!r} is no version") from None
    return text.strip()


def get_releases(chosen: argparse.Namespace, first: str, last: str) -> tuple[str, ...]:
    """Those that were published between the two, and that the harness speaks to."""
    try:
        distribution = chosen.vary or get_distribution(chosen.backend)
        found = select_releases_between(
            sort_releases([*list_published_releases(distribution), first, last]), first, last
        )
    except PackageIndexError as problem:
        raise UsageError(str(problem)) from None
    if chosen.vary:
        return tuple(found)
    return tuple(release for release in found if _is_supported(chosen.backend, release))


def _is_supported(backend: str, release: str) -> bool:
    try:
        find_releases(backend, release)
    except UnknownReleaseError:
        return False
    return True


def build_series(chosen: argparse.Namespace, run: Path, say: LogLine) -> ReleaseSeries:
    try:
        cases = load_cases(chosen.suite / "conversations")
        patterns = [chosen.case] if isinstance(chosen.case, str) else chosen.case
        names = tuple(name for name in cases if any(fnmatchcase(name, pattern) for pattern in patterns))
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in cases):
                raise UsageError(f"--case {pattern}: fits none of: {', '.join(cases)}")
        if isinstance(chosen.case, str) and len(names) > 1:
            raise UsageError(
                f"--case {chosen.case}: a bisection is of one case, and that fits {', '.join(names)}"
            )
        folder = build_legacy_folder(chosen.model, say)
    except (CaseError, UnknownModelError, EnvironmentBuildError, ValueError) as problem:
        raise UsageError(str(problem)) from None
    question = ReleaseQuery(
        backend=chosen.backend,
        model=chosen.model,
        folder=folder,
        cases=names,
        conversations=chosen.suite / "conversations",
        tests=chosen.suite,
        mode=chosen.mode,
        entry_point=EntryPoint(chosen.entry_point),
        chosen=_pins(chosen.pin),
        engine_args=tuple(chosen.engine_arg),
        reproduce=shlex.join(["parity", *sys.argv[1:]]),
    )
    return ReleaseSeries(
        question, run, chosen.vary or chosen.backend, chosen.release, chosen.reference_version
    )


def check_release_options(chosen: argparse.Namespace) -> None:
    """Raises ``UsageError`` where options do not go together."""
    known = list_backend_targets()
    if chosen.backend not in known:
        raise UsageError(
            f"--backend {chosen.backend}: there is no such backend; there are: {', '.join(known)}"
        )
    if bool(chosen.vary) != bool(chosen.release):
        raise UsageError(
            "--vary varies another distribution under one release of the backend: name --release, too"
        )
    if chosen.backend == REFERENCE_BACKEND and not chosen.reference_version:
        raise UsageError(
            f"--backend {REFERENCE_BACKEND}: held against itself it never differs; name with --reference the release "
            "to hold it against"
        )


def _pins(texts: Iterable[str]) -> Mapping[str, str]:
    found = {}
    for text in texts:
        name, separator, version = text.partition("=")
        if not name or not separator or not version:
            raise UsageError(f"--pin {text}: has to be NAME=VERSION")
        found[name] = parse_version(version.lstrip("="))
    return found
