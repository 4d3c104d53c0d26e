"""Search for the release in which the outcome of a case changed, with as few runs as possible."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from vlm_parity.releases.answer import ReleaseAnswer

RunRelease = Callable[[str], ReleaseAnswer]


@dataclass
class Bisection:
    """The releases that a bisection has run, and its result."""

    releases: tuple[str, ...]
    """All releases, in the direction of the search."""
    answers: dict[str, ReleaseAnswer] = field(default_factory=dict)
    """Answers by release, in the order of the runs."""
    last_equal: str = ""
    """The last release with the outcome of the first one."""
    first_changed: str = ""
    """The first release with another outcome; empty if none was found."""

    @property
    def unanswered(self) -> tuple[str, ...]:
        """Releases between the two that could not be run: the change may be in one of them."""
        if not self.first_changed:
            return ()
        start, stop = self.releases.index(self.last_equal), self.releases.index(self.first_changed)
        return self.releases[start + 1 : stop]


def bisect_releases_between(releases: tuple[str, ...], run_release: RunRelease) -> Bisection:
    """Run both ends, then always the middle of the remaining releases.

    A release without a verdict is replaced by the one next to it. Outcomes are compared by the first property
    in which the ends differ: the kind of verdict, else the first divergent stage, else the cause. The outcome
    is assumed to change once: a release with neither outcome counts as changed.

    Args:
        releases: two at least, in the direction of the search.
        run_release: runs one of them.

    Returns:
        The bisection. ``first_changed`` is empty if an end has no verdict, or both have the same outcome.
    """
    bisection = Bisection(releases)

    def get_answer(release: str) -> ReleaseAnswer:
        if release not in bisection.answers:
            bisection.answers[release] = run_release(release)
        return bisection.answers[release]

    first, last = get_answer(releases[0]), get_answer(releases[-1])
    if not (first.has_verdict and last.has_verdict) or first.outcome == last.outcome:
        return bisection
    compared = next(n for n in (1, 2, 3) if first.outcome[:n] != last.outcome[:n])
    low, high = 0, len(releases) - 1
    while (middle := next(_find_inner_releases(low, high, releases, get_answer), None)) is not None:
        is_equal = get_answer(releases[middle]).outcome[:compared] == first.outcome[:compared]
        low, high = (middle, high) if is_equal else (low, middle)
    bisection.last_equal, bisection.first_changed = releases[low], releases[high]
    return bisection


def _find_inner_releases(
    low: int, high: int, releases: tuple[str, ...], get_answer: RunRelease
) -> Iterator[int]:
    """Yield the indices between two others whose releases have a verdict, the closest to the middle first."""
    middle = (low + high) / 2
    for index in sorted(range(low + 1, high), key=lambda index: abs(index - middle)):
        if get_answer(releases[index]).has_verdict:
            yield index
