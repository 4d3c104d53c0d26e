"""Alignment: hunks cover both sequences in order, and runs keep thousands of image tokens quick."""

from __future__ import annotations

from itertools import chain, pairwise

from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.diff.align import TokenRun, align_sequences, collapse_runs
from vlm_parity.schema.verdict import Hunk

IMAGE_PAD = 151655

# Few different ids, so that sequences have runs and much in common.
sequences = st.lists(st.integers(0, 3), max_size=40).map(tuple)


def expand(runs: tuple[TokenRun, ...]) -> tuple[int, ...]:
    return tuple(chain.from_iterable([token] * count for token, count in runs))


@given(sequences)
def test_expanding_undoes_collapsing(ids: tuple[int, ...]) -> None:
    assert expand(collapse_runs(ids)) == ids


@given(sequences)
def test_runs_are_as_long_as_they_can_be(ids: tuple[int, ...]) -> None:
    assert all(before != after for (before, _), (after, _) in pairwise(collapse_runs(ids)))


@given(sequences, sequences)
def test_hunks_cover_both_sequences_in_order(reference: tuple[int, ...], tested: tuple[int, ...]) -> None:
    hunks = align_sequences(reference, tested)
    i = j = 0
    for hunk in hunks:
        assert (hunk.reference_index, hunk.tested_index) == (i, j)
        i, j = i + len(expand(hunk.reference)), j + len(expand(hunk.tested))
    assert sum((expand(hunk.reference) for hunk in hunks), ()) == reference
    assert sum((expand(hunk.tested) for hunk in hunks), ()) == tested


@given(sequences, sequences)
def test_equal_hunks_are_equal_and_others_are_not(
    reference: tuple[int, ...], tested: tuple[int, ...]
) -> None:
    hunks = align_sequences(reference, tested)
    assert all(hunk.equal == (hunk.reference == hunk.tested) for hunk in hunks)
    assert all(before.equal != after.equal for before, after in pairwise(hunks))


@given(sequences)
def test_a_sequence_is_one_equal_hunk_with_itself(ids: tuple[int, ...]) -> None:
    expected = (
        Hunk(
            equal=True,
            reference_index=0,
            tested_index=0,
            reference=collapse_runs(ids),
            tested=collapse_runs(ids),
        ),
    )
    assert align_sequences(ids, ids) == (expected if ids else ())


def test_a_longer_run_is_one_difference() -> None:
    pads = [IMAGE_PAD] * 88
    same, other, rest = align_sequences([1, *pads, 2], [1, *pads, IMAGE_PAD, 2])
    assert (same.equal, other.equal, rest.equal) == (True, False, True)
    assert other.reference == ((IMAGE_PAD, 88),)
    assert other.tested == ((IMAGE_PAD, 89),)
    assert (rest.reference_index, rest.tested_index) == (89, 90)


def test_hundred_thousand_image_tokens_are_quick() -> None:
    image = [151652, *[IMAGE_PAD] * 5_000, 151653]
    reference = image * 20
    hunks = align_sequences(reference, [*reference[:-2], 7])  # aligned id by id it takes minutes
    assert [hunk.equal for hunk in hunks] == [True, False]


def test_a_video_of_thousands_of_frames_is_aligned_at_its_ends() -> None:
    """Frames as InternVL writes them: with difflib this takes many minutes."""
    frames, others = ((1, 2, pad, pad, 3) * 3000 for pad in (8, 9))
    hunks = align_sequences((5, *frames, 6), (5, *others, 6))
    assert [(hunk.equal, hunk.reference_index) for hunk in hunks] == [(True, 0), (False, 3), (True, 15000)]
    assert expand(hunks[1].tested) == others[2:-1]


def test_long_sequences_that_are_equal_are_one_hunk() -> None:
    ids = (1, 2) * 2000
    assert align_sequences(ids, ids) == (
        Hunk(
            equal=True,
            reference_index=0,
            tested_index=0,
            reference=collapse_runs(ids),
            tested=collapse_runs(ids),
        ),
    )
    (more,) = (hunk for hunk in align_sequences(ids, (*ids, 3)) if not hunk.equal)
    assert (more.reference, more.tested) == ((), ((3, 1),))
