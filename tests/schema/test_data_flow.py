"""A difference follows from an earlier one only if data flows from it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.schema.data_flow import INPUTS, find_consequences
from vlm_parity.schema.trace import Stage

ORDER = list(Stage)
states = st.fixed_dictionaries({stage: st.sampled_from([True, False, None]) for stage in Stage})


def differ(*stages: Stage, not_compared: tuple[Stage, ...] = ()) -> dict[Stage, bool | None]:
    return {stage: None if stage in not_compared else stage in stages for stage in Stage}


def test_data_come_from_earlier_stages_only() -> None:
    for stage, sources in INPUTS.items():
        assert all(ORDER.index(source) < ORDER.index(stage) for source in sources)


def test_the_vision_tower_sees_no_positions() -> None:
    found = find_consequences(differ(Stage.POSITIONS, Stage.VISION, Stage.PREFILL))
    assert found == {Stage.PREFILL}


def test_features_of_other_pixels_differ() -> None:
    assert find_consequences(differ(Stage.MEDIA, Stage.VISION)) == {Stage.VISION}


def test_equal_logits_stop_a_difference() -> None:
    assert Stage.GREEDY not in find_consequences(differ(Stage.VISION, Stage.GREEDY))


def test_a_difference_passes_through_what_was_not_compared() -> None:
    found = find_consequences(differ(Stage.INPUT_IDS, Stage.VISION, not_compared=(Stage.SPANS, Stage.MEDIA)))
    assert found == {Stage.VISION}


@given(states)
def test_the_first_difference_is_never_a_consequence(differs: dict[Stage, bool | None]) -> None:
    first = next((stage for stage in Stage if differs[stage]), None)
    found = find_consequences(differs)
    assert first not in found
    assert all(differs[stage] for stage in found)


@given(states, st.sampled_from(ORDER))
def test_agreement_in_place_of_a_gap_never_makes_a_difference_follow(
    differs: dict[Stage, bool | None], stage: Stage
) -> None:
    if differs[stage] is None:
        assert find_consequences({**differs, stage: False}) <= find_consequences(differs)
