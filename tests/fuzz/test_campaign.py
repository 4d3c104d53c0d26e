"""Hypothesis's part: what fails is shrunk, once for each key, and what comes after is looked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.traces import make_trace
from vlm_parity.fuzz import campaign as hunt
from vlm_parity.fuzz.campaign import Campaign, FuzzProfile, ShrunkFailure
from vlm_parity.fuzz.oracle import Oracle
from vlm_parity.fuzz.search_space import SearchSpace
from vlm_parity.schema.case import Case, VideoPart
from vlm_parity.schema.fuzz_findings import FindingKey
from vlm_parity.schema.trace import Depth
from vlm_parity.schema.verdict import Verdict, VerdictKind

GROUND = SearchSpace(("image", "video"))
TWO, TYPED, CRASH = (
    FindingKey("input_ids", "two pictures"),
    FindingKey("prompt", "typed"),
    FindingKey("crash", "a video"),
)


def verdict(kind: VerdictKind) -> Verdict:
    values: dict[str, Any] = {"reference": make_trace("transformers"), "tested": make_trace(), "stages": ()}
    return Verdict(case="fuzz", model="m", backend="b", depth=Depth.TOKENS, kind=kind, reproduce="", **values)


@dataclass
class Judge:
    """Stands for two engines that part by a rule."""

    key_of: Callable[[Case], FindingKey | None]
    asked: list[Case] = field(default_factory=list)

    def examine(self, case: Case, repeated: bool, reproduce: str = "") -> tuple[Verdict, FindingKey | None]:
        self.asked.append(case)
        key = self.key_of(case)
        kind = VerdictKind.CRASH if key == CRASH else VerdictKind.MISMATCH if key else VerdictKind.MATCH
        return verdict(kind), key


def hunted(
    key_of: Callable[[Case], FindingKey | None], **profile: Any
) -> tuple[Campaign, list[ShrunkFailure], Judge]:
    judge, caught = Judge(key_of), []
    chosen = {"name": "test", "examples": 150, "seconds": None, "seed": 5, **profile}
    found = Campaign(cast(Oracle, judge), GROUND, FuzzProfile(**chosen))
    found.run(caught.append)
    return found, caught, judge


def pictures(case: Case) -> int:
    return sum(modality == "image" for modality, _ in case.media)


def typed(case: Case) -> bool:
    return any(
        "<|image_pad|>" in getattr(part, "text", "") for message in case.messages for part in message.parts
    )


def test_asks_as_much_as_it_is_told() -> None:
    found, caught, judge = hunted(lambda _: None)
    assert not caught
    assert found.tally.examples == len(judge.asked) == 150
    assert found.tally.outcomes == {"match": 150}


def test_a_failure_is_shrunk_to_the_smallest_case() -> None:
    _, caught, _ = hunted(lambda case: TWO if pictures(case) >= 2 else None)
    (one,) = caught
    (message,) = one.case.messages
    assert [part.source.size for _, part in one.case.media] == [(1, 1), (1, 1)]
    assert len(message.parts) == 2
    assert (one.key, one.unshrunk, one.repeated) == (TWO, "", False)


def test_another_failure_is_found_behind_the_first() -> None:
    def key_of(case: Case) -> FindingKey | None:
        return TWO if pictures(case) else TYPED if typed(case) else None

    found, caught, _ = hunted(key_of, examples=400)
    assert {one.key for one in caught} == {TWO, TYPED}
    assert found.more[TWO] > 10
    assert found.tally.outcomes["as found before"] == sum(found.more.values())


def test_the_same_seed_asks_the_same() -> None:
    first, second = (hunted(lambda _: None, examples=50)[2].asked for _ in range(2))
    assert first == second
    assert hunted(lambda _: None, examples=50, seed=6)[2].asked != first


def test_the_time_ends_it_and_not_its_shrinking(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**9))
    monkeypatch.setattr(hunt.time, "monotonic", lambda: next(clock) / 10)
    found, caught, _ = hunted(lambda case: TWO if pictures(case) else None, examples=None, seconds=20)
    assert [one.case.messages[0].parts[0].source.size for one in caught] == [(1, 1)]
    assert found.tally.examples < 200


def test_crashes_are_not_shrunk_for_ever() -> None:
    def key_of(case: Case) -> FindingKey | None:
        return CRASH if any(isinstance(part, VideoPart) for _, part in case.media) else None

    _, caught, judge = hunted(key_of, examples=60)
    (one,) = caught
    assert "children died" in one.unshrunk
    assert sum(key_of(case) is not None for case in judge.asked) >= hunt.MAX_CRASHES


def test_what_failed_before_is_asked_first(tmp_path: Path) -> None:
    def key_of(case: Case) -> FindingKey | None:
        return TWO if pictures(case) >= 2 else None

    hunted(key_of, database=tmp_path)
    _, caught, judge = hunted(key_of, database=tmp_path, seed=77, examples=1)
    assert len(caught) == 1
    assert key_of(judge.asked[0]) == TWO
