"""The options of ``parity bisect`` and ``parity history``: checks, and the objects built from them."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from packaging.version import Version

from vlm_parity.backends.registry import REFERENCE_BACKEND, list_backend_targets, load_backend_class
from vlm_parity.backends.releases import find_releases
from vlm_parity.models.registry import FAMILIES
from vlm_parity.models.required_files import is_checkpoint
from vlm_parity.releases.checkpoint import build_legacy_folder
from vlm_parity.releases.environment import LogLine, is_built
from vlm_parity.releases.history import ReleaseSeries
from vlm_parity.releases.package_index import (
    check_published,
    get_distribution,
    is_unknown_distribution,
    list_published_releases,
    select_releases_between,
    sort_releases,
)
from vlm_parity.releases.pins import build_pins
from vlm_parity.releases.query import ReleaseQuery
from vlm_parity.schema.case_file import load_cases
from vlm_parity.schema.case_selection import select_cases
from vlm_parity.schema.engine_setup import DEFAULT_MODE, Depth, EntryPoint
from vlm_parity.schema.suite_layout import CONVERSATIONS
from vlm_parity.util.cache_dir import ensure_writable_cache
from vlm_parity.util.errors import PackageIndexError, UnknownReleaseError, UsageError
from vlm_parity.util.option_paths import check_folder, check_output_folder, find_folder
from vlm_parity.util.suggestions import describe_unknown_name, quote_name
from vlm_parity.util.writable_folder import ensure_writable_run

_ENDS = 2


def check_release_options(args: argparse.Namespace, run: Path) -> tuple[str, ...]:
    """Check all options that need neither the package index nor an environment.

    Args:
        args: the arguments of ``vlm_parity.cli.releases``.
        run: the run folder.

    Returns:
        The names of the selected cases.

    Raises:
        UsageError: an option names something that does not exist, or options cannot be combined.
    """
    known = sorted(list_backend_targets())
    if args.backend not in known:
        raise UsageError(describe_unknown_name("--backend", args.backend, known, "no such backend"))
    _check_combinations(args)
    _check_setup(args)
    if args.release is not None:
        _check_supported("--release", args.backend, args.release)
    if args.reference_version is not None:
        _check_supported("--reference-version", REFERENCE_BACKEND, args.reference_version)
    check_folder("--suite", args.suite)
    check_output_folder("--run", run)
    _check_model(args.model)
    return _select_cases(args.case, args.suite / CONVERSATIONS, args.media_root)


def _check_combinations(args: argparse.Namespace) -> None:
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


def _check_setup(args: argparse.Namespace) -> None:
    """Check the mode and the entry point: releases run at the depth ``tokens``, where no engine is loaded."""
    if args.mode != DEFAULT_MODE:
        raise UsageError(
            f"--mode {quote_name(args.mode)}: releases run at the depth {Depth.TOKENS}, whose only mode is "
            f"{DEFAULT_MODE}"
        )
    backend = load_backend_class(args.backend)
    available = [
        name
        for name in EntryPoint
        if name is EntryPoint.CHAT or (name in backend.entry_points and not name.loads_own_engine)
    ]
    if args.entry_point not in available:
        raise UsageError(
            f"--entry-point {args.entry_point}: {args.backend} at the depth {Depth.TOKENS} has: "
            f"{', '.join(available)}"
        )


def _check_model(model: str) -> None:
    folder = find_folder(model)
    if model not in FAMILIES and (folder is None or not is_checkpoint(folder)):
        problem = "neither a family nor the folder of a checkpoint"
        raise UsageError(describe_unknown_name("--model", model, FAMILIES, problem, listing="families"))


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
    older, newer = sorted(ends, key=Version)
    if Version(older) == Version(newer):
        raise UsageError(f"both ends are {older}: name two releases")
    return older, newer


def get_releases_between(args: argparse.Namespace, first: str, last: str) -> tuple[str, ...]:
    """Return the published releases between two, with both, that the backend supports.

    Raises:
        PackageIndexError: the releases cannot be listed.
        UsageError: an end is not published.
    """
    distribution = args.vary or get_distribution(args.backend)
    options = "--good and --bad" if getattr(args, "good", None) else "--from and --to"
    with _name_unknown_distribution(args.vary):
        check_published(options, distribution, (first, last))
        published = list_published_releases(distribution)
    _check_fixed_releases(args)
    releases = select_releases_between(sort_releases([*published, first, last]), first, last)
    if args.vary:
        return tuple(releases)
    return tuple(release for release in releases if _is_supported(args.backend, release))


def get_listed_releases(args: argparse.Namespace) -> tuple[str, ...]:
    """Return the releases of ``--releases``, the oldest first.

    Releases whose environments exist need no package index.

    Raises:
        PackageIndexError: the releases cannot be listed.
        UsageError: a release is not published or not supported, or ``--from`` or ``--to`` is also used.
    """
    if args.first or args.last:
        raise UsageError("--releases lists all releases: it cannot be combined with --from and --to")
    releases = tuple(sort_releases(list(args.releases)))
    if not args.vary:
        for release in releases:
            _check_supported("--releases", args.backend, release)
    missing = [release for release in releases if not _is_environment_built(args, release)]
    with _name_unknown_distribution(args.vary):
        check_published("--releases", args.vary or get_distribution(args.backend), missing)
    _check_fixed_releases(args)
    return releases


@contextmanager
def _name_unknown_distribution(name: str | None) -> Iterator[None]:
    """Raise a usage error if the index answers that it has no distribution of the name that a user chose."""
    try:
        yield
    except PackageIndexError as error:
        if name is not None and is_unknown_distribution(error):
            raise UsageError(f"--vary {name}: {error}") from None
        raise


def _check_fixed_releases(args: argparse.Namespace) -> None:
    """Check the releases that are the same in every environment."""
    for option, backend, release in (
        ("--release", args.backend, args.release),
        ("--reference-version", REFERENCE_BACKEND, args.reference_version),
    ):
        if release is not None:
            needed = [] if is_built(build_pins(backend, release)) else [release]
            check_published(option, get_distribution(backend), needed)


def _is_environment_built(args: argparse.Namespace, release: str) -> bool:
    versions = {**dict(args.pin), **({args.vary: release} if args.vary else {})}
    return is_built(build_pins(args.backend, args.release or release, versions))


def _check_supported(option: str, backend: str, release: str) -> None:
    try:
        find_releases(backend, release)
    except UnknownReleaseError as error:
        raise UsageError(f"{option}: {error}") from None


def _is_supported(backend: str, release: str) -> bool:
    try:
        find_releases(backend, release)
    except UnknownReleaseError:
        return False
    return True


def build_series(args: argparse.Namespace, cases: tuple[str, ...], run: Path, log: LogLine) -> ReleaseSeries:
    """Build the series of releases to run.

    Args:
        args: the arguments of ``vlm_parity.cli.releases``.
        cases: the names of the cases.
        run: the run folder.
        log: called with a line before anything that takes long.

    Raises:
        EnvironmentBuildError: the environment that writes the files of the model cannot be installed.
        UnknownModelError: the files of the model cannot be written.
        UsageError: the run folder or the cache cannot be written.
    """
    ensure_writable_run(run)
    ensure_writable_cache()
    query = ReleaseQuery(
        backend=args.backend,
        model=args.model,
        folder=build_legacy_folder(args.model, log),
        cases=cases,
        conversations=args.suite / CONVERSATIONS,
        media_roots=tuple(args.media_root),
        tests=args.suite,
        mode=args.mode,
        entry_point=EntryPoint(args.entry_point),
        versions=dict(args.pin),
        engine_args=tuple(args.engine_arg),
        reproduce=shlex.join(["parity", *sys.argv[1:]]),
    )
    return ReleaseSeries(query, run, args.vary or args.backend, args.release, args.reference_version)


def _select_cases(
    requested: str | list[str], conversations: Path, media_roots: Sequence[Path]
) -> tuple[str, ...]:
    """Return the names of the cases; a single string is that of a bisection, which has one case."""
    patterns = [requested] if isinstance(requested, str) else requested
    cases = load_cases(conversations, media_roots=media_roots)
    names = tuple(select_cases(cases, patterns, "--case"))
    if isinstance(requested, str) and len(names) > 1:
        raise UsageError(f"--case {requested}: a bisection has one case, but this matches {', '.join(names)}")
    return names
