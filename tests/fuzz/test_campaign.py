"""Campaigns: each failure is shrunk once for each key, and others are found after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.traces import make_trace
from vlm_parity.fuzz import campaign
from vlm_parity.fuzz.campaign import Campaign, FuzzProfile, ShrunkFailure
from vlm_parity.fuzz.oracle import Oracle
from vlm_parity.fuzz.search_space import SearchSpace
from vlm_parity.schema.case import Case, VideoPart
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.fuzz_findings import FindingKey
from vlm_parity.schema.verdict import Verdict, VerdictKind

SPACE = SearchSpace(("image", "video"))
TWO, TYPED, CRASH = (
    FindingKey("input_ids", "two images"),
    FindingKey("prompt", "typed"),
    FindingKey("crash", "a video"),
)


def make_verdict(kind: VerdictKind) -> Verdict:
    values: dict[str, Any] = {"reference": make_trace("transformers"), "tested": make_trace(), "stages": ()}
    return Verdict(case="fuzz", model="m", backend="b", depth=Depth.TOKENS, kind=kind, reproduce="", **values)


@dataclass
class FakeOracle:
    """Stands for two engines that differ by a rule."""

    key_of: Callable[[Case], FindingKey | None]
    cases: list[Case] = field(default_factory=list)

    def examine(self, case: Case, *_: Any) -> tuple[Verdict, FindingKey | None]:
        self.cases.append(case)
        key = self.key_of(case)
        kind = VerdictKind.CRASH if key == CRASH else VerdictKind.MISMATCH if key else VerdictKind.MATCH
        return make_verdict(kind), key


def run_campaign(
    key_of: Callable[[Case], FindingKey | None], **profile: Any
) -> tuple[Campaign, list[ShrunkFailure], FakeOracle]:
    oracle = FakeOracle(key_of)
    failures: list[ShrunkFailure] = []
    settings = {"name": "test", "examples": 150, "seconds": None, "seed": 5, **profile}
    finished = Campaign(cast(Oracle, oracle), SPACE, FuzzProfile(**settings))
    finished.run(failures.append)
    return finished, failures, oracle


def count_images(case: Case) -> int:
    return sum(modality == "image" for modality, _ in case.media)


def has_typed_token(case: Case) -> bool:
    return any(
        "<|image_pad|>" in getattr(part, "text", "") for message in case.messages for part in message.parts
    )


def test_the_number_of_examples_is_exact() -> None:
    finished, failures, oracle = run_campaign(lambda _: None)
    assert not failures
    assert finished.stats.examples == len(oracle.cases) == 150
    assert finished.stats.outcomes == {"match": 150}


def test_a_failure_is_shrunk_to_the_smallest_case() -> None:
    _, failures, _ = run_campaign(lambda case: TWO if count_images(case) >= 2 else None)
    (failure,) = failures
    (message,) = failure.case.messages
    assert [part.source.size for _, part in failure.case.media] == [(1, 1), (1, 1)]  # type: ignore[union-attr]
    assert len(message.parts) == 2
    assert (failure.key, failure.not_shrunk_reason, failure.repeated) == (TWO, "", False)


def test_another_failure_is_found_after_the_first() -> None:
    def key_of(case: Case) -> FindingKey | None:
        return TWO if count_images(case) else TYPED if has_typed_token(case) else None

    finished, failures, _ = run_campaign(key_of, examples=400)
    assert {failure.key for failure in failures} == {TWO, TYPED}
    assert finished.duplicate_counts[TWO] > 10
    assert finished.stats.outcomes["duplicate"] == sum(finished.duplicate_counts.values())


def test_the_same_seed_draws_the_same_examples() -> None:
    first, second = (run_campaign(lambda _: None, examples=50)[2].cases for _ in range(2))
    assert first == second
    assert run_campaign(lambda _: None, examples=50, seed=6)[2].cases != first


def test_the_time_limit_does_not_interrupt_shrinking(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**9))
    monkeypatch.setattr("vlm_parity.fuzz.campaign.time.monotonic", lambda: next(clock) / 10)
    finished, failures, _ = run_campaign(
        lambda case: TWO if count_images(case) else None, examples=None, seconds=20
    )
    assert [part.source.size for failure in failures for _, part in failure.case.media] == [(1, 1)]  # type: ignore[union-attr]
    assert finished.stats.examples < 200


def test_shrinking_stops_after_too_many_crashes() -> None:
    def key_of(case: Case) -> FindingKey | None:
        return CRASH if any(isinstance(part, VideoPart) for _, part in case.media) else None

    _, failures, oracle = run_campaign(key_of, examples=60)
    (failure,) = failures
    assert "crashes" in failure.not_shrunk_reason
    assert sum(key_of(case) is not None for case in oracle.cases) >= campaign.MAX_CRASHES


def test_examples_that_failed_before_come_first(tmp_path: Path) -> None:
    def key_of(case: Case) -> FindingKey | None:
        return TWO if count_images(case) >= 2 else None

    run_campaign(key_of, database=tmp_path)
    _, failures, oracle = run_campaign(key_of, database=tmp_path, seed=77, examples=1)
    assert len(failures) == 1
    assert key_of(oracle.cases[0]) == TWO
