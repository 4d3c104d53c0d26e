"""A bisection asks few releases, passes over those that give no answer, and never claims more than it saw."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.releases.answer import ReleaseAnswer
from vlm_parity.releases.bisect import Bisection, bisect_releases_between
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import VerdictKind

MATCH, FAILED, OTHERWISE, UNASKED = "match", "differs", "differs otherwise", "unasked"
KINDS = {
    MATCH: VerdictKind.MATCH,
    FAILED: VerdictKind.MISMATCH,
    OTHERWISE: VerdictKind.MISMATCH,
    UNASKED: None,
}


def answer(release: str, said: str) -> ReleaseAnswer:
    return ReleaseAnswer(
        backend="lmdeploy",
        release=release,
        model="qwen2_vl",
        case="one_image",
        kind=KINDS[said],
        stage=Stage.INPUT_IDS if said in {FAILED, OTHERWISE} else None,
        cause=said if said in {FAILED, OTHERWISE} else "",
        problem="no wheel" if said == UNASKED else "",
    )


def bisected(*said: str) -> Bisection:
    releases = tuple(f"1.{number}" for number in range(len(said)))
    return bisect_releases_between(releases, lambda release: answer(release, said[releases.index(release)]))


def test_the_release_that_fixed_it_is_found() -> None:
    found = bisected(FAILED, FAILED, FAILED, MATCH, MATCH, MATCH, MATCH, MATCH)
    assert (found.last_equal, found.first_changed) == ("1.2", "1.3")
    assert len(found.answers) == 5


def test_a_mismatch_that_changes_is_no_fix() -> None:
    found = bisected(FAILED, OTHERWISE, OTHERWISE, OTHERWISE, OTHERWISE, MATCH, MATCH, MATCH)
    assert found.first_changed == "1.5"


def test_where_both_ends_differ_the_cause_tells() -> None:
    assert bisected(FAILED, FAILED, OTHERWISE, OTHERWISE).first_changed == "1.2"


def test_ends_that_are_alike_have_nothing_to_find() -> None:
    found = bisected(MATCH, FAILED, MATCH)
    assert not found.first_changed
    assert list(found.answers) == ["1.0", "1.2"]


def test_an_end_without_an_answer_is_nothing_to_go_by() -> None:
    assert not bisected(UNASKED, MATCH, MATCH).first_changed
    assert not bisected(FAILED, MATCH, UNASKED).first_changed


def test_a_release_that_cannot_be_asked_is_named_where_the_change_may_lie_in_it() -> None:
    found = bisected(FAILED, UNASKED, UNASKED, MATCH)
    assert (found.last_equal, found.first_changed) == ("1.0", "1.3")
    assert found.unanswered == ("1.1", "1.2")


@given(before=st.integers(1, 40), after=st.integers(1, 40))
def test_it_asks_no_more_than_bisection_needs(before: int, after: int) -> None:
    found = bisected(*[FAILED] * before, *[MATCH] * after)
    assert found.first_changed == f"1.{before}"
    assert len(found.answers) <= 2 + math.ceil(math.log2(before + after))


@given(
    ends=st.permutations([MATCH, FAILED]),
    inside=st.lists(st.sampled_from([MATCH, FAILED, UNASKED]), max_size=30),
)
def test_the_two_releases_that_it_names_differ_and_what_is_between_gave_no_answer(
    ends: list[str], inside: list[str]
) -> None:
    said = [ends[0], *inside, ends[1]]
    found = bisected(*said)
    low, high = found.releases.index(found.last_equal), found.releases.index(found.first_changed)
    assert said[low] == said[0]
    assert said[high] not in {said[0], UNASKED}
    assert set(said[low + 1 : high]) <= {UNASKED}
    assert found.unanswered == found.releases[low + 1 : high]
