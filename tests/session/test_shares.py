"""Division of engine loads into shares: a partition, balanced, the same everywhere."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.session.shares import LoadName, assign_shares, estimate_seconds

NAMES = st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(("vllm", "lmdeploy", "vllm-batched")))
SECONDS = st.dictionaries(NAMES, st.floats(0, 10_000), max_size=24)
COUNTS = st.integers(1, 8)


def sum_shares(seconds: dict[LoadName, float], shares: dict[LoadName, int]) -> dict[int, float]:
    totals: dict[int, float] = defaultdict(float)
    for load, share in shares.items():
        totals[share] += seconds[load]
    return totals


@given(SECONDS, COUNTS)
def test_every_load_is_in_exactly_one_share(seconds: dict[LoadName, float], count: int) -> None:
    shares = assign_shares(seconds, count)
    assert shares.keys() == seconds.keys()
    assert set(shares.values()) <= set(range(1, count + 1))


@given(SECONDS, COUNTS)
def test_no_share_exceeds_the_mean_by_more_than_the_longest_load(
    seconds: dict[LoadName, float], count: int
) -> None:
    totals = sum_shares(seconds, assign_shares(seconds, count))
    limit = math.fsum(seconds.values()) / count + max(seconds.values(), default=0.0)
    assert max(totals.values(), default=0.0) <= limit * (1 + 1e-9)


@given(SECONDS, COUNTS, st.randoms())
def test_order_of_the_loads_does_not_matter(
    seconds: dict[LoadName, float], count: int, random: Random
) -> None:
    shuffled = list(seconds.items())
    random.shuffle(shuffled)
    assert assign_shares(dict(shuffled), count) == assign_shares(seconds, count)


def test_equal_loads_are_divided_evenly() -> None:
    seconds = {("model", str(number)): 1.0 for number in range(10)}
    assert set(Counter(assign_shares(seconds, 5).values()).values()) == {2}


def test_longest_load_has_a_share_of_its_own() -> None:
    seconds = {("a", "vllm"): 100.0, ("b", "vllm"): 40.0, ("c", "vllm"): 40.0}
    assert assign_shares(seconds, 2) == {("a", "vllm"): 1, ("b", "vllm"): 2, ("c", "vllm"): 2}


def test_load_without_recorded_seconds_takes_the_average_of_a_comparison() -> None:
    comparisons = {("a", "vllm"): 10, ("b", "vllm"): 4, ("c", "vllm"): 1}
    recorded = {("a", "vllm"): 30.0, ("old", "vllm"): 500.0}
    assert estimate_seconds(comparisons, recorded) == {("a", "vllm"): 30, ("b", "vllm"): 12, ("c", "vllm"): 3}
    assert estimate_seconds(comparisons, {}) == comparisons
