"""Runs Hypothesis in rounds: draws examples, shrinks failures and continues to look for other ones."""

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
from vlm_parity.schema.verdict import Verdict, VerdictKind
from vlm_parity.util.errors import ParityError

ROUND_EXAMPLES = 200
"""The number of examples that are drawn before Hypothesis is started anew."""
REPEAT_INTERVAL = 10
"""One in this many examples is run again, after others and in a batch."""
MAX_CRASHES = 8
"""The number of crashes at which a round ends: each of them costs a load."""
MAX_SHRINKING_S = 300.0
"""Seconds after which Hypothesis stops shrinking: ``MAX_SHRINKING_SECONDS`` of its engine."""
DUPLICATE = "duplicate"
"""The outcome of an example that fails like an earlier finding."""


@dataclass(frozen=True)
class FuzzProfile:
    """The length and the seed of a campaign."""

    name: str
    examples: int | None
    """The maximum number of examples; None for as many as the time allows."""
    seconds: float | None
    """The time limit; None for no limit. Findings are shrunk to the end even after it."""
    seed: int
    database: Path | None = None
    """The folder in which Hypothesis keeps failing examples, to start with them the next time."""


@dataclass
class CampaignStats:
    """The counts of a campaign so far."""

    rounds: int = 0
    examples: int = 0
    shrinking: int = 0
    repeated: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def count(self, outcome: str) -> None:
        """Count one more example with this outcome."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1


@dataclass(frozen=True)
class ShrunkFailure:
    """A failing example, shrunk."""

    key: FindingKey
    case: Case
    repeated: bool
    seed: int
    examples: int
    """The number of examples run when the round that found it had ended."""
    not_shrunk_reason: str = ""
    """The reason why the case may not be minimal; empty if Hypothesis finished shrinking."""


class NoExampleError(ParityError):
    """Hypothesis ended a round without an example, so the campaign would never reach its limit."""


class PropertyViolatedError(ParityError):
    """A property does not hold for an example.

    Each key has a subclass of its own, because Hypothesis shrinks each class of exception separately.

    Args:
        key: the violated property and its cause.
        case: the example.
        repeated: True if the engine ran the example again.
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
    """Searches for failing examples of one model in one engine.

    Args:
        oracle: decides on each example.
        search_space: the examples that can be drawn.
        profile: the length and the seed.
    """

    def __init__(self, oracle: Oracle, search_space: SearchSpace, profile: FuzzProfile) -> None:
        self.stats = CampaignStats()
        self.duplicate_counts: dict[FindingKey, int] = {}
        """The number of later examples for the key of each finding."""
        self._oracle, self._search_space, self._profile = oracle, search_space, profile
        self._start = time.monotonic()
        self._round = _RoundState(0)
        self._load_error: FrontendLoadError | None = None

    def run(
        self, on_failure: Callable[[ShrunkFailure], None], on_round: Callable[[], None] = lambda: None
    ) -> None:
        """Run rounds until the limit of the profile.

        Args:
            on_failure: called with each failing example, once for each key, after the round that shrunk it.
            on_round: called after every round.

        Raises:
            FrontendLoadError: a child crashed and its successor did not load.
            NoExampleError: Hypothesis ended a round without an example.
        """
        while not self._is_over:
            self._round = _RoundState(self._profile.seed + self.stats.rounds)
            before = self.stats.examples
            for failure in self._find_failures():
                self.duplicate_counts[failure.key] = 0
                on_failure(failure)
            if self.stats.examples == before and not self._is_over:
                raise NoExampleError(
                    f"Hypothesis drew no example in the round with seed {self._round.seed}, after {before}"
                )
            self.stats.rounds += 1
            on_round()

    @property
    def _is_over(self) -> bool:
        late = self._profile.seconds is not None and time.monotonic() - self._start > self._profile.seconds
        return late or (self._profile.examples is not None and self.stats.examples >= self._profile.examples)

    def _find_failures(self) -> Iterator[ShrunkFailure]:
        """Run one round of Hypothesis and yield its failures, shrunk."""
        try:
            self._build_property()()
        except PropertyViolatedError as error:
            failures: tuple[BaseException, ...] = (error,)
        except BaseExceptionGroup as group:
            failures = group.exceptions
        else:
            return
        # Findings come first: an error among them ends the campaign.
        for failure in sorted(failures, key=lambda each: not isinstance(each, PropertyViolatedError)):
            if not isinstance(failure, PropertyViolatedError):
                raise failure
            yield ShrunkFailure(
                failure.key,
                failure.case,
                failure.repeated,
                self._round.seed,
                self.stats.examples,
                self._round.not_shrunk_reason,
            )

    def _build_property(self) -> Callable[[], None]:
        profile = self._profile
        max_examples = (
            ROUND_EXAMPLES
            if profile.examples is None
            else min(ROUND_EXAMPLES, profile.examples - self.stats.examples)
        )
        # In the first round only: known failures pass in later rounds, and Hypothesis would drop them.
        reuse = (Phase.reuse,) if self.stats.rounds == 0 else ()
        database: ExampleDatabase | None = None
        if profile.database is not None:
            database = DirectoryBasedExampleDatabase(profile.database)

        @settings(  # above the seed, which disables the database
            max_examples=max_examples,
            database=database,
            deadline=None,
            phases=(*reuse, Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=True,
            verbosity=Verbosity.quiet,
            print_blob=False,
        )
        @seed(self._round.seed)
        @given(case=draw_cases(self._search_space), draw=st.integers(0, REPEAT_INTERVAL - 1))
        def all_properties_hold(case: Case, draw: int) -> None:
            self._check(case, repeated=draw == REPEAT_INTERVAL - 1)

        return all_properties_hold

    def _check(self, case: Case, repeated: bool) -> None:
        """Check one example.

        An example that has failed in this round fails again without being run: Hypothesis replays a shrunk
        crash, which would cost another load.

        Raises:
            PropertyViolatedError: it fails with a key that no earlier round has found.
        """
        if self._load_error is not None:  # Hypothesis shrinks it like a failure, which cannot load either
            raise self._load_error
        example = (case.digest(), repeated)
        if example in self._round.failed:
            self._fail(example, case)
        shrinking = self._round.is_shrinking
        if (not shrinking and self._is_over) or self._round.is_exhausted:
            return
        with self._measure_time():
            verdict, key = self._examine(case, repeated)
        self.stats.repeated += repeated
        if shrinking:
            self.stats.shrinking += 1
        else:
            self.stats.examples += 1
            self.stats.count(
                str(verdict.kind) if key is None or key not in self.duplicate_counts else DUPLICATE
            )
        if key is None:
            return
        if verdict.kind is VerdictKind.CRASH:
            self._round.crashes += 1
        if key in self.duplicate_counts:
            self.duplicate_counts[key] += not shrinking
            return
        self._round.add_failure(example, key)
        self._fail(example, case)

    def _examine(self, case: Case, repeated: bool) -> tuple[Verdict, FindingKey | None]:
        try:
            return self._oracle.examine(case, repeated)
        except FrontendLoadError as error:
            self._load_error = error
            raise

    def _fail(self, example: tuple[str, bool], case: Case) -> NoReturn:
        """Raise from a single line: Hypothesis treats exceptions from two lines as two failures."""
        key = self._round.failed[example]
        raise _get_exception_class(key)(key, case, example[1])

    @contextmanager
    def _measure_time(self) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.stats.seconds += time.perf_counter() - start


@dataclass
class _RoundState:
    """The state of one round of Hypothesis."""

    seed: int
    failed: dict[tuple[str, bool], FindingKey] = field(default_factory=dict)
    crashes: int = 0
    first_failure_at: float = 0.0
    """The monotonic time of the first failure."""

    @property
    def is_shrinking(self) -> bool:
        """True after the first failure: examples drawn after it mostly serve to shrink it."""
        return bool(self.failed)

    def add_failure(self, example: tuple[str, bool], key: FindingKey) -> None:
        """Record a failure."""
        self.first_failure_at = self.first_failure_at or time.monotonic()
        self.failed[example] = key

    @property
    def is_exhausted(self) -> bool:
        """True after too many crashes."""
        return self.crashes >= MAX_CRASHES

    @property
    def not_shrunk_reason(self) -> str:
        """The reason why the failures may not be minimal; empty if shrinking finished."""
        if self.is_exhausted:
            return f"shrinking stopped after {self.crashes} crashes, each of which costs a load"
        if self.failed and time.monotonic() - self.first_failure_at > MAX_SHRINKING_S:
            return f"shrinking stopped after {MAX_SHRINKING_S:.0f} seconds"
        return ""
