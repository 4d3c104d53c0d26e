"""What the options of ``parity bisect`` and ``parity history`` mean."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from packaging.version import InvalidVersion, Version

from harness.backends import REFERENCE, backend_targets
from harness.backends.releases import UnknownRelease, releases_taking
from harness.case_file import BadCase, load_cases
from harness.models.unknown import UnknownModel
from harness.releases.ask import Question
from harness.releases.checkpoint import older_folder
from harness.releases.environment import EnvironmentFailed, Say
from harness.releases.history import Line
from harness.releases.index import NoReleases, between, distribution_of, in_order, published
from harness.releases.use import WrongUse


def chosen_ends(chosen: argparse.Namespace) -> tuple[str, str]:
    """The two releases between which to look, the older one first."""
    by_verdict = [end for end in (getattr(chosen, "good", None), getattr(chosen, "bad", None)) if end]
    by_age = [end for end in (chosen.first, chosen.last) if end]
    ends = by_verdict or by_age
    if len(ends) != 2 or (by_verdict and by_age):  # noqa: PLR2004
        raise WrongUse("name both ends: --from and --to, or in a bisection --good and --bad")
    older, newer = sorted(map(checked_version, ends), key=Version)
    return older, newer


def checked_version(text: str) -> str:
    try:
        Version(text)
    except InvalidVersion:
        raise WrongUse(f"{text!r} is no version") from None
    return text.strip()


def chosen_releases(chosen: argparse.Namespace, first: str, last: str) -> tuple[str, ...]:
    """Those that were published between the two, and that the harness speaks to."""
    try:
        distribution = chosen.of or distribution_of(chosen.backend)
        found = between(in_order([*published(distribution), first, last]), first, last)
    except NoReleases as problem:
        raise WrongUse(str(problem)) from None
    if chosen.of:
        return tuple(found)
    return tuple(release for release in found if _is_taken(chosen.backend, release))


def _is_taken(backend: str, release: str) -> bool:
    try:
        releases_taking(backend, release)
    except UnknownRelease:
        return False
    return True


def chosen_line(chosen: argparse.Namespace, run: Path, say: Say) -> Line:
    try:
        cases = load_cases(chosen.cases / "conversations")
        patterns = [chosen.case] if isinstance(chosen.case, str) else chosen.case
        names = tuple(name for name in cases if any(fnmatchcase(name, pattern) for pattern in patterns))
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in cases):
                raise WrongUse(f"--case {pattern}: fits none of: {', '.join(cases)}")
        if isinstance(chosen.case, str) and len(names) > 1:
            raise WrongUse(
                f"--case {chosen.case}: a bisection is of one case, and that fits {', '.join(names)}"
            )
        folder = older_folder(chosen.model, say)
    except (BadCase, UnknownModel, EnvironmentFailed, ValueError) as problem:
        raise WrongUse(str(problem)) from None
    question = Question(
        backend=chosen.backend,
        model=chosen.model,
        folder=folder,
        cases=names,
        conversations=chosen.cases / "conversations",
        tests=chosen.cases,
        variant=chosen.variant,
        chosen=_pins(chosen.pin),
        engine_args=tuple(chosen.engine_arg),
        reproduce=shlex.join(["parity", *sys.argv[1:]]),
    )
    return Line(question, run, chosen.of or chosen.backend, chosen.release, chosen.reference)


def check_options(chosen: argparse.Namespace) -> None:
    """Raises ``WrongUse`` where options do not go together."""
    known = backend_targets()
    if chosen.backend not in known:
        raise WrongUse(f"--backend {chosen.backend}: there is no such backend; there are: {', '.join(known)}")
    if bool(chosen.of) != bool(chosen.release):
        raise WrongUse(
            "--of varies another distribution under one release of the backend: name --release, too"
        )
    if chosen.backend == REFERENCE and not chosen.reference:
        raise WrongUse(
            f"--backend {REFERENCE}: held against itself it never differs; name with --reference the release "
            "to hold it against"
        )


def _pins(texts: Iterable[str]) -> Mapping[str, str]:
    found = {}
    for text in texts:
        name, separator, version = text.partition("=")
        if not name or not separator or not version:
            raise WrongUse(f"--pin {text}: has to be NAME=VERSION")
        found[name] = checked_version(version.lstrip("="))
    return found
