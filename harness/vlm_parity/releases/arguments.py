"""The options of ``parity bisect`` and ``parity history``: checks, and the objects built from them."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
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
from vlm_parity.schema.suite_layout import CONVERSATIONS
from vlm_parity.util.cache_dir import ensure_writable_cache
from vlm_parity.util.errors import (
    EnvironmentBuildError,
    PackageIndexError,
    UnknownModelError,
    UnknownReleaseError,
    UsageError,
)
from vlm_parity.util.writable_folder import ensure_writable_run

_ENDS = 2


def check_release_options(args: argparse.Namespace) -> None:
    """Check the options that select the backend and its releases.

    Raises:
        UsageError: the backend is unknown, or options cannot be combined.
    """
    known = list_backend_targets()
    if args.backend not in known:
        raise UsageError(f"--backend {args.backend}: no such backend; there are: {', '.join(known)}")
    if bool(args.vary) != bool(args.release):
        raise UsageError(
            "--vary and --release belong together: --vary names the distribution whose releases are run, "
            "--release the release of the backend"
        )
    if args.backend == REFERENCE_BACKEND and not args.reference_version:
        raise UsageError(
            f"--backend {REFERENCE_BACKEND}: a release never differs from itself; add --reference-version "
            "with the release to compare with"
        )


def get_end_releases(args: argparse.Namespace) -> tuple[str, str]:
    """Return the first and the last release to consider, the older one first.

    Raises:
        UsageError: an end is missing, or both pairs of options are used.
    """
    by_verdict = [end for end in (getattr(args, "good", None), getattr(args, "bad", None)) if end]
    by_age = [end for end in (args.first, args.last) if end]
    ends = by_verdict or by_age
    if len(ends) != _ENDS or (by_verdict and by_age):
        raise UsageError("name both ends: --from and --to, or in a bisection --good and --bad")
    older, newer = sorted(map(parse_version, ends), key=Version)
    return older, newer


def parse_version(text: str) -> str:
    """Return a version without surrounding spaces.

    Raises:
        UsageError: the text is not a version.
    """
    try:
        Version(text)
    except InvalidVersion:
        raise UsageError(f"{text!r} is not a version") from None
    return text.strip()


def get_releases(args: argparse.Namespace, first: str, last: str) -> tuple[str, ...]:
    """Return the published releases between two, with both, that the backend supports.

    Raises:
        UsageError: the releases cannot be listed.
    """
    try:
        distribution = args.vary or get_distribution(args.backend)
        releases = select_releases_between(
            sort_releases([*list_published_releases(distribution), first, last]), first, last
        )
    except PackageIndexError as error:
        raise UsageError(str(error)) from None
    if args.vary:
        return tuple(releases)
    return tuple(release for release in releases if _is_supported(args.backend, release))


def _is_supported(backend: str, release: str) -> bool:
    try:
        find_releases(backend, release)
    except UnknownReleaseError:
        return False
    return True


def build_series(args: argparse.Namespace, run: Path, log: LogLine) -> ReleaseSeries:
    """Build the series of releases to run.

    Args:
        args: the arguments of ``vlm_parity.cli.releases``.
        run: the run folder.
        log: called with a line before anything that takes long.

    Raises:
        UsageError: a case or the model does not exist, or its files, the run folder or the cache cannot be
            written.
    """
    conversations = args.suite / CONVERSATIONS
    media_roots = tuple(args.media_root)
    cases = _select_cases(args.case, conversations, media_roots)
    pins = _parse_pins(args.pin)
    ensure_writable_run(run)
    ensure_writable_cache()
    try:
        folder = build_legacy_folder(args.model, log)
    except (UnknownModelError, EnvironmentBuildError, ValueError) as error:
        raise UsageError(str(error)) from None
    query = ReleaseQuery(
        backend=args.backend,
        model=args.model,
        folder=folder,
        cases=cases,
        conversations=conversations,
        media_roots=media_roots,
        tests=args.suite,
        mode=args.mode,
        entry_point=EntryPoint(args.entry_point),
        versions=pins,
        engine_args=tuple(args.engine_arg),
        reproduce=shlex.join(["parity", *sys.argv[1:]]),
    )
    return ReleaseSeries(query, run, args.vary or args.backend, args.release, args.reference_version)


def _select_cases(
    requested: str | list[str], conversations: Path, media_roots: Sequence[Path]
) -> tuple[str, ...]:
    """Return the names of the cases; a single string is that of a bisection, which has one case."""
    cases = load_cases(conversations, media_roots=media_roots)
    patterns = [requested] if isinstance(requested, str) else requested
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in cases):
            raise UsageError(f"--case {pattern}: matches none of: {', '.join(cases)}")
    names = tuple(name for name in cases if any(fnmatchcase(name, pattern) for pattern in patterns))
    if isinstance(requested, str) and len(names) > 1:
        raise UsageError(f"--case {requested}: a bisection has one case, but this matches {', '.join(names)}")
    return names


def _parse_pins(texts: Iterable[str]) -> Mapping[str, str]:
    versions = {}
    for text in texts:
        name, separator, version = text.partition("=")
        if not name or not separator or not version:
            raise UsageError(f"--pin {text}: must be NAME=VERSION")
        versions[name] = parse_version(version.lstrip("="))
    return versions
