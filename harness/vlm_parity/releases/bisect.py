"""Finds the release in which the outcome of a case changed, with as few questions as bisection needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from vlm_parity.releases.answer import ReleaseAnswer

RunRelease = Callable[[str], ReleaseAnswer]


@dataclass
class Bisection:
    """What was asked, and what came of it."""

    releases: tuple[str, ...]
    """Those that there are, in the direction in which it goes."""
    answers: dict[str, ReleaseAnswer] = field(default_factory=dict)
    """In the order in which they were asked."""
    last_equal: str = ""
    """The last release that was seen to be like the first one."""
    changed: str = ""
    """The first release that was seen not to be; empty where none was found."""

    @property
    def unanswered(self) -> tuple[str, ...]:
        """Releases between the two that could not be asked: the change may lie in them, too."""
        if not self.changed:
            return ()
        start, stop = self.releases.index(self.last_equal), self.releases.index(self.changed)
        return self.releases[start + 1 : stop]


def bisect_releases_between(releases: tuple[str, ...], ask: RunRelease) -> Bisection:
    """Asks the ends, then always the middle of what is left.

    A release that gives no answer is passed over for the one next to it. Releases are alike in the coarsest
    that the ends differ in: the kind of verdict; else the first divergent stage; else the cause. That is
    taken to change once: what is neither like the first release nor like the last one counts as changed.

    Args:
        releases: two at least, in the direction in which to go.
        ask: asks one of them.

    Returns:
        With ``changed`` empty where an end gives no answer, or both are alike.
    """
    found = Bisection(releases)

    def asked(release: str) -> ReleaseAnswer:
        if release not in found.answers:
            found.answers[release] = ask(release)
        return found.answers[release]

    first, last = asked(releases[0]), asked(releases[-1])
    if not (first.has_verdict and last.has_verdict) or first.outcome == last.outcome:
        return found
    telling = next(n for n in (1, 2, 3) if first.outcome[:n] != last.outcome[:n])
    low, high = 0, len(releases) - 1
    while (middle := next(_find_comparable_ends(low, high, releases, asked), None)) is not None:
        alike = asked(releases[middle]).outcome[:telling] == first.outcome[:telling]
        low, high = (middle, high) if alike else (low, middle)
    found.last_equal, found.changed = releases[low], releases[high]
    return found


def _find_comparable_ends(
    low: int, high: int, releases: tuple[str, ...], asked: Callable[[str], ReleaseAnswer]
) -> Iterator[int]:
    """The places strictly between two others that give an answer, the nearest to the middle first."""
    middle = (low + high) / 2
    for place in sorted(range(low + 1, high), key=lambda each: abs(each - middle)):
        if asked(releases[place]).has_verdict:
            yield place
