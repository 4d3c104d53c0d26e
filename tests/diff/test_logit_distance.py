"""Distances: as a plain float64 log-softmax has them, for every row that an engine may return."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.diff.logit_distance import LogitDistances, compute_logit_distances

INFINITE = float("inf")


def measured(reference: np.ndarray, tested: np.ndarray) -> LogitDistances:
    a, b = reference.astype(np.float32), tested.astype(np.float32)
    return compute_logit_distances(
        lambda start, stop: a[start:stop], lambda start, stop: b[start:stop], len(a), a.shape[1]
    )


def measured_row(reference: list[float], tested: list[float]) -> tuple[float, float, float]:
    found = measured(np.array([reference]), np.array([tested]))
    return float(found.max_abs[0]), float(found.rms[0]), float(found.kl[0])


def plain_log_softmax(logits: np.ndarray) -> np.ndarray:
    """Compute log-softmax by its definition."""
    wide = logits.astype(np.float32).astype(np.float64)
    wide = wide - wide.max(axis=-1, keepdims=True)
    logprobs: np.ndarray = wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return logprobs


class Logits(NamedTuple):
    """A recipe for two sides of [rows, vocabulary] logits, of numbers that a failing test can print."""

    rows: int
    vocabulary: int
    scale: float
    noise: float
    offset: float
    ruled_out: float
    """The share of the vocabulary that both sides rule out."""
    seed: int

    def sides(self) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng(self.seed)
        shape = self.rows, self.vocabulary
        reference = self.offset + self.scale * random.standard_normal(shape)
        tested = reference + self.noise * random.standard_normal(shape)
        ruled_out = random.random(shape) < self.ruled_out
        ruled_out[:, 0] = False  # never a whole row
        return np.where(ruled_out, -np.inf, reference), np.where(ruled_out, -np.inf, tested)


logits = st.builds(
    Logits,
    rows=st.integers(1, 20),
    vocabulary=st.integers(1, 300) | st.sampled_from([2047, 2048, 2049, 5000]),
    scale=st.sampled_from([1e-3, 1.0, 10.0, 50.0, 100.0, 300.0]),
    noise=st.sampled_from([0.0, 1e-6, 1e-3, 1.0, 30.0]),
    offset=st.sampled_from([0.0, -80.0, 80.0, 500.0]),
    ruled_out=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 1000),
)


@given(logits)
def test_distances_are_those_of_float64(made: Logits) -> None:
    reference, tested = made.sides()
    found = measured(reference, tested)
    a, b = plain_log_softmax(reference), plain_log_softmax(tested)
    with np.errstate(invalid="ignore"):
        raw, apart = (np.where(np.isneginf(a), 0, x - y) for x, y in ((reference, tested), (a, b)))
    near = {"rtol": 1e-5, "atol": 1e-6 + 1.2e-7 * np.abs(raw).max()}  # raw differences are float32
    np.testing.assert_allclose(found.max_abs, np.abs(apart).max(axis=1), **near)
    np.testing.assert_allclose(found.rms, np.sqrt(np.square(apart).mean(axis=1)), **near)
    np.testing.assert_allclose(found.kl, (np.exp(a) * apart).sum(axis=1), **near)
    np.testing.assert_array_equal(found.reference_top1, a.argmax(axis=1))
    np.testing.assert_array_equal(found.tested_top1, b.argmax(axis=1))
    assert found.reference_finite.all()


@given(logits, st.sampled_from([-64.0, -0.5, 8.0, 1024.0]))
def test_a_constant_added_to_a_row_changes_nothing(made: Logits, constant: float) -> None:
    reference, _ = made.sides()
    coarse = np.round(reference * 64) / 64  # the sum has an exact float32
    np.testing.assert_allclose(measured(coarse, coarse + constant).max_abs, 0, atol=2e-6)


def test_equal_sides_are_no_distance_apart() -> None:
    rows = np.random.default_rng(1).normal(0, 5, (50, 100))
    found = measured(rows, rows)
    assert not found.max_abs.any()
    assert not found.kl.any()


@pytest.mark.parametrize("top", [120.0, -120.0, 1e4, -1e4])
def test_large_logits_do_not_overflow(top: float) -> None:
    largest, _, kl = measured_row([top, top - 1, top - 2], [top, top - 1, top - 1])
    expected = np.abs(plain_log_softmax(np.array([0.0, -1, -2])) - plain_log_softmax(np.array([0.0, -1, -1])))
    assert largest == pytest.approx(expected.max(), rel=1e-5)
    assert kl == pytest.approx(0.0538, abs=1e-4)


def test_a_token_that_both_rule_out_is_no_difference() -> None:
    assert measured_row([1, -INFINITE, 2], [1, -INFINITE, 2]) == (0, 0, 0)


def test_a_token_that_both_rule_out_hides_no_other() -> None:
    """An equal logit under another sum is another probability."""
    largest, _, _ = measured_row([0, -INFINITE, 1], [0, -INFINITE, 2])
    assert largest == pytest.approx(0.8137, abs=1e-4)


@pytest.mark.parametrize("sides", [([1, 2, 3], [1, -INFINITE, 3]), ([1, -INFINITE, 3], [1, 2, 3])])
def test_a_token_that_only_one_side_rules_out_is_infinitely_far(sides: tuple[list[float], ...]) -> None:
    assert measured_row(*sides) == (INFINITE, INFINITE, INFINITE)


@pytest.mark.parametrize("bad", [float("nan"), INFINITE])
def test_what_is_no_number_on_the_tested_side_is_infinitely_far(bad: float) -> None:
    found = measured(np.array([[1.0, 2, 3]]), np.array([[1.0, bad, 3]]))
    assert found.max_abs[0] == INFINITE
    assert found.reference_finite[0]


@pytest.mark.parametrize("bad", [[1, float("nan"), 3], [1, INFINITE, 3], [-INFINITE] * 3])
def test_reference_that_is_no_distribution_is_reported(bad: list[float]) -> None:
    healthy = [1.0, 2.0, 3.0]
    found = measured(np.array([healthy, bad, healthy]), np.array([healthy] * 3))
    assert found.reference_finite.tolist() == [True, False, True]
    assert found.max_abs[1] == INFINITE


def test_divergence_of_known_distributions() -> None:
    """KL((1/2, 1/2) from (3/4, 1/4)) = ln 2 - ln 3 / 2, by hand."""
    _, _, kl = measured_row([0, 0], [float(np.log(3)), 0])
    assert kl == pytest.approx(np.log(2) - np.log(3) / 2, abs=1e-6)


def test_divergence_is_that_of_the_tested_side_from_the_reference() -> None:
    _, _, forth = measured_row([0, 0], [5, 0])
    _, _, back = measured_row([5, 0], [0, 0])
    assert forth == pytest.approx(1.8136, abs=1e-4)
    assert back == pytest.approx(0.6530, abs=1e-4)


def test_rms_is_over_the_vocabulary() -> None:
    moved = [float(np.log(3)), 0]  # log-probabilities move by ln(3/2) and ln 2
    largest, rms, _ = measured_row([0, 0], moved)
    assert largest == pytest.approx(np.log(2), abs=1e-6)
    assert rms == pytest.approx(np.sqrt((np.log(1.5) ** 2 + np.log(2) ** 2) / 2), abs=1e-6)


def test_top1_is_the_first_of_the_most_likely() -> None:
    found = measured(np.array([[0.0, 7, 7]]), np.array([[9.0, 7, 9]]))
    assert (found.reference_top1[0], found.tested_top1[0]) == (1, 0)


def test_rows_keep_their_order_over_many_batches() -> None:
    reference = np.zeros((100, 4))
    tested = reference.copy()
    tested[:, 0] = np.arange(100)
    assert (np.diff(measured(reference, tested).max_abs) > 0).all()
