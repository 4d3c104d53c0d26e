"""The rule: three ratios to the noise, and none excuses another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.diff.noise_tolerance import NoiseRatios, compute_noise_ratios, compute_rms
from vlm_parity.schema.noise_floor import StageNoise

ROWS = 40
NOISE = StageNoise(np.full((4, ROWS), 1e-6), np.full((4, ROWS), 4e-6))


def against_noise(rms: float, largest: float, at: int | None = None) -> NoiseRatios:
    """Measure a side at a distance, at all rows or at one, that otherwise equals the noise."""
    all_rms, all_largest = np.full(ROWS, 1e-6), np.full(ROWS, 4e-6)
    where = slice(None) if at is None else slice(at, at + 1)
    all_rms[where], all_largest[where] = rms, largest
    return compute_noise_ratios(all_rms, all_largest, NOISE, 1e-9)


def test_one_more_draw_of_the_same_noise_uses_up_less_than_is_allowed() -> None:
    found = against_noise(1e-6, 4e-6)
    assert [found.sequence, found.position.max(), found.entry.max()] == pytest.approx([1, 1, 1])
    assert found.limit_ratio < 1


@pytest.mark.parametrize(
    ("rms", "largest", "at", "name"),
    [
        (1.5e-6, 6e-6, None, "sequence"),
        (5e-6, 4e-6, 7, "position"),
        (1e-6, 20e-6, 7, "entry"),
    ],
)
def test_each_ratio_alone_is_enough(rms: float, largest: float, at: int | None, name: str) -> None:
    found = against_noise(rms, largest, at)
    over = [one for one in found.limits if found.metrics[f"{one}_ratio"] > found.limits[one]]
    assert over == [name]
    assert found.limit_ratio > 1
    assert "times the noise floor" in found.worst


def test_the_row_that_is_over_is_the_one_that_strains() -> None:
    row_limit_ratios = against_noise(1e-6, 40e-6, 7).row_limit_ratios
    assert (int(row_limit_ratios.argmax()), int((row_limit_ratios > 1).sum())) == (7, 1)


def test_rows_that_the_samples_agree_on_by_luck_have_the_floor_of_all() -> None:
    rms, largest = NOISE.rms.copy(), NOISE.largest.copy()
    rms[:, 3], largest[:, 3] = 1e-12, 1e-12
    found = compute_noise_ratios(np.full(ROWS, 1e-6), np.full(ROWS, 4e-6), StageNoise(rms, largest), 1e-9)
    assert found.limit_ratio < 1


def test_no_noise_at_all_leaves_the_rounding_of_what_is_stored() -> None:
    nothing = StageNoise(np.zeros((2, ROWS)), np.zeros((2, ROWS)))
    assert compute_noise_ratios(np.zeros(ROWS), np.zeros(ROWS), nothing, 1e-9).limit_ratio == 0
    assert compute_noise_ratios(np.full(ROWS, 1e-10), np.full(ROWS, 1e-10), nothing, 1e-9).limit_ratio < 1
    assert compute_noise_ratios(np.full(ROWS, 1e-8), np.full(ROWS, 1e-8), nothing, 1e-9).limit_ratio > 1


def test_what_is_no_number_is_infinitely_far() -> None:
    assert against_noise(np.inf, np.inf, 3).limit_ratio == np.inf


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=20), st.floats(1e-6, 1e6), st.integers(0, 2**32 - 1))
def test_the_unit_does_not_matter(values: list[float], unit: float, seed: int) -> None:
    rows = np.array(values)
    noise = np.random.default_rng(seed).uniform(0.5, 2, (4, len(rows)))
    plain = compute_noise_ratios(rows, rows * 3, StageNoise(noise, noise * 3), 1e-12)
    scaled = compute_noise_ratios(
        rows * unit, rows * 3 * unit, StageNoise(noise * unit, noise * 3 * unit), 1e-12 * unit
    )
    assert scaled.limit_ratio == pytest.approx(plain.limit_ratio)


def test_the_root_mean_square_of_nothing_is_nothing() -> None:
    assert compute_rms(np.zeros((2, 0))) == 0
