"""Hypothesis at work: draws examples, shrinks what fails, and goes on to what else there is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NoReturn

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase, ExampleDatabase

from vlm_parity.fuzz.case_strategies import draw_cases
from vlm_parity.fuzz.frontends import FrontendLoadError
from vlm_parity.fuzz.oracle import Oracle
from vlm_parity.fuzz.search_space import SearchSpace
from vlm_parity.schema.case import Case
from vlm_parity.schema.fuzz_findings import FindingKey
from vlm_parity.schema.verdict import VerdictKind
from vlm_parity.util.errors import ParityError

ROUND_EXAMPLES = 200
"""Examples that are drawn before Hypothesis begins anew."""
REPEAT_INTERVAL = 10
"""How often an example is asked again, after others and in a batch."""
MAX_CRASHES = 8
"""Of children in one round: every one costs a load."""
MAX_SHRINKING_S = 300.0
"""Seconds, after which Hypothesis gives up; ``MAX_SHRINKING_SECONDS`` of its engine."""
DUPLICATE = "as found before"


@dataclass(frozen=True)
class FuzzProfile:
    """How long, and from where."""

    name: str
    examples: int | None
    """To ask at most; None for as many as the time allows."""
    seconds: float | None
    """To go on for; None until the examples are asked. A finding is shrunk to its end all the same."""
    seed: int
    database: Path | None = None
    """Where Hypothesis keeps the examples that failed, to begin with them the next time."""


@dataclass
class CampaignStats:
    """What was asked so far."""

    rounds: int = 0
    examples: int = 0
    shrinking: int = 0
    repeated: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def count(self, outcome: str) -> None:
        """Counts one more example by what came of it."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1


@dataclass(frozen=True)
class ShrunkFailure:
    """A failing example, shrunk."""

    key: FindingKey
    case: Case
    repeated: bool
    seed: int
    examples: int
    """How many had been asked when the round that found it had ended."""
    unshrunk: str = ""


class PropertyViolatedError(ParityError):
    """A property does not hold of an example. Each key has a class of its own, for Hypothesis shrinks each
    kind of exception by itself.
    """

    def __init__(self, key: FindingKey, case: Case, repeated: bool) -> None:
        super().__init__(f"{key.failed_property}: {key.cause}")
        self.key, self.case, self.repeated = key, case, repeated


@cache
def _get_exception_class(key: FindingKey) -> type[PropertyViolatedError]:
    return type(
        "PropertyViolatedError", (PropertyViolatedError,), {"__doc__": f"{key.failed_property}: {key.cause}"}
    )


class Campaign:
    """Looks for failing examples about one model in one engine, until the profile's end."""

    def __init__(self, examiner: Oracle, ground: SearchSpace, profile: FuzzProfile) -> None:
        self.tally = CampaignStats()
        self.more: dict[FindingKey, int] = {}
        """How many examples showed a key that was caught before."""
        self._examiner, self._search_space, self._profile = examiner, ground, profile
        self._start = time.monotonic()
        self._round = _RoundState(0)

    def run(
        self, caught: Callable[[ShrunkFailure], None], on_round: Callable[[], None] = lambda: None
    ) -> None:
        """Asks until the end.

        Args:
            caught: called with each failing example, once for a key, as soon as its round has shrunk it.
            turned: called after every round.

        Raises:
            FrontendLoadError: a child died, and another did not load.
        """
        while not self._is_over:
            self._round = _RoundState(self._profile.seed + self.tally.rounds)
            for found in self._failing():
                self.more[found.key] = 0
                caught(found)
            self.tally.rounds += 1
            on_round()

    @property
    def _is_over(self) -> bool:
        late = self._profile.seconds is not None and time.monotonic() - self._start > self._profile.seconds
        return late or (self._profile.examples is not None and self.tally.examples >= self._profile.examples)

    def _failing(self) -> Iterator[ShrunkFailure]:
        """What one round of Hypothesis finds, each shrunk."""
        try:
            self._property()()
        except FrontendLoadError:
            raise
        except PropertyViolatedError as one:
            failures: tuple[BaseException, ...] = (one,)
        except BaseExceptionGroup as several:
            failures = several.exceptions
        else:
            return
        for failure in failures:
            if not isinstance(failure, PropertyViolatedError):
                raise failure
            yield ShrunkFailure(
                failure.key,
                failure.case,
                failure.repeated,
                self._round.seed,
                self.tally.examples,
                self._round.unshrunk,
            )

    def _property(self) -> Callable[[], None]:
        profile = self._profile
        left = (
            ROUND_EXAMPLES
            if profile.examples is None
            else min(ROUND_EXAMPLES, profile.examples - self.tally.examples)
        )
        # Once: what is caught already passes in later rounds, and Hypothesis would forget it.
        before = (Phase.reuse,) if self.tally.rounds == 0 else ()
        database: ExampleDatabase | None = None
        if profile.database is not None:
            database = DirectoryBasedExampleDatabase(profile.database)

        @settings(  # above the seed, which takes the database away
            max_examples=left,
            database=database,
            deadline=None,
            phases=(*before, Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=True,
            verbosity=Verbosity.quiet,
            print_blob=False,
        )
        @seed(self._round.seed)
        @given(case=draw_cases(self._search_space), draw=st.integers(0, REPEAT_INTERVAL - 1))
        def everything_holds(case: Case, draw: int) -> None:
            self._try(case, repeated=draw == REPEAT_INTERVAL - 1)

        return everything_holds

    def _try(self, case: Case, repeated: bool) -> None:
        """One example. What has failed in this round fails again without being asked: a shrunk crash is shown
        by Hypothesis once more, and would cost another load.

        Raises:
            PropertyViolatedError: it breaks something that was not caught in an earlier round.
        """
        example = (case.digest(), repeated)
        if example in self._round.failed:
            self._fail(example, case)
        shrinking = self._round.shrinks
        if (not shrinking and self._is_over) or self._round.gives_up:
            return
        with self._timed():
            verdict, key = self._examiner.examine(case, repeated)
        self.tally.repeated += repeated
        if shrinking:
            self.tally.shrinking += 1
        else:
            self.tally.examples += 1
            self.tally.count(str(verdict.kind) if key is None or key not in self.more else DUPLICATE)
        if key is None:
            return
        if verdict.kind is VerdictKind.CRASH:
            self._round.crashes += 1
        if key in self.more:
            self.more[key] += not shrinking
            return
        self._round.fails(example, key)
        self._fail(example, case)

    def _fail(self, example: tuple[str, bool], case: Case) -> NoReturn:
        """The one line that raises: Hypothesis takes exceptions from two lines for two failures."""
        key = self._round.failed[example]
        raise _get_exception_class(key)(key, case, example[1])

    @contextmanager
    def _timed(self) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.tally.seconds += time.perf_counter() - start


@dataclass
class _RoundState:
    """What Hypothesis is in the middle of."""

    seed: int
    failed: dict[tuple[str, bool], FindingKey] = field(default_factory=dict)
    crashes: int = 0
    first: float = 0.0
    """When the first failure was seen, by the monotonic clock."""

    @property
    def shrinks(self) -> bool:
        """Whether something has failed: what is drawn now is mostly to make it smaller."""
        return bool(self.failed)

    def fails(self, example: tuple[str, bool], key: FindingKey) -> None:
        """Notes a failure."""
        self.first = self.first or time.monotonic()
        self.failed[example] = key

    @property
    def gives_up(self) -> bool:
        return self.crashes >= MAX_CRASHES

    @property
    def unshrunk(self) -> str:
        if self.gives_up:
            return f"{self.crashes} children died on the way here, and each costs a load"
        if self.failed and time.monotonic() - self.first > MAX_SHRINKING_S:
            return f"Hypothesis ends a shrinking after {MAX_SHRINKING_S:.0f} seconds"
        return ""
