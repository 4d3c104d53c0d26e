"""Baselines in the store: the last run that can be compared, the last that passed, a release, a name."""

from __future__ import annotations

import pytest

from tests.support.comparisons import make_run
from tests.support.verdicts import make_shard_summary, make_verdict
from vlm_parity.changes.run_summary import RunSummary
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Verdict
from vlm_parity.store.baseline import find_baseline
from vlm_parity.store.database import Store
from vlm_parity.store.import_run import RunLabels, import_run
from vlm_parity.util.errors import UsageError

CASES = ("a", "b", "c")
GREEN = tuple(make_verdict(case=case) for case in CASES)
RED = (*GREEN[:2], make_verdict({Stage.VISION: 50.0}, case="c"))


def build(day: int, *verdicts: Verdict, name: str = "") -> RunSummary:
    """Build a run of one day."""
    started = f"2026-03-{day:02}T04:00:00.000+00:00"
    shard = make_shard_summary(*verdicts, session=f"{day} {name}", started=started)
    return make_run(shard, name=name or f"day_{day}")


def add(store: Store, day: int, *verdicts: Verdict, name: str = "", release: str = "") -> None:
    import_run(store, build(day, *verdicts, name=name), RunLabels(release=release))


def test_last_is_the_newest_earlier_run(store: Store) -> None:
    for day in (1, 2, 5):
        add(store, day, *GREEN)
    baseline = find_baseline(store, "last", build(4, *GREEN))
    assert (baseline.name, baseline.started) == ("day_2", "2026-03-02T04:00:00.000+00:00")
    assert baseline.origin == f"store {store.name}"


def test_last_is_never_the_run_itself(store: Store) -> None:
    add(store, 1, *GREEN)
    add(store, 2, *GREEN)
    assert find_baseline(store, "last", build(2, *GREEN)).name == "day_1"


def test_a_name_is_never_that_of_the_run_itself(store: Store) -> None:
    """Nights have one name: a run that was stored before the gate would be held against itself."""
    add(store, 1, *GREEN, name="nightly")
    add(store, 2, *RED, name="nightly")
    assert find_baseline(store, "nightly", build(2, *RED, name="nightly")).started == build(1).started
    with pytest.raises(UsageError, match="holds no release and no run 'other'"):
        find_baseline(store, "other", build(2, *RED, name="nightly"))


def test_last_green_passes(store: Store) -> None:
    add(store, 1, *GREEN)
    add(store, 2, *RED)
    assert find_baseline(store, "last", build(3, *GREEN)).name == "day_2"
    assert find_baseline(store, "last-green", build(3, *GREEN)).name == "day_1"


@pytest.mark.parametrize(
    "others",
    [
        [make_verdict(case=case, backend="lmdeploy") for case in CASES],
        [make_verdict(case=case, model="qwen3_vl") for case in CASES],
        [make_verdict(case=case, environment={"device": "cuda"}) for case in CASES],
        [make_verdict(case="a")],
        [make_verdict(case=f"{case}{number}") for case in CASES for number in range(3)],
    ],
    ids=["backend", "model", "device", "one case", "other cases"],
)
def test_a_run_of_other_comparisons_is_not_the_last(store: Store, others: list[Verdict]) -> None:
    add(store, 1, *GREEN)
    add(store, 2, *others)
    assert find_baseline(store, "last", build(3, *GREEN)).name == "day_1"


def test_edited_cases_and_other_checkpoints_are_in_common(store: Store) -> None:
    add(store, 1, *(make_verdict(case=case, case_digest="before") for case in CASES))
    assert find_baseline(store, "last", build(3, *GREEN)).name == "day_1"


def test_the_newest_run_of_a_release(store: Store) -> None:
    add(store, 1, *RED, release="0.18.0")
    add(store, 2, *GREEN, release="0.18.0")
    add(store, 3, *GREEN, release="0.19.0")
    baseline = find_baseline(store, "0.18.0", build(4, *GREEN))
    assert (baseline.name, baseline.release) == ("day_2", "0.18.0")


def test_a_release_is_preferred_to_a_name(store: Store) -> None:
    add(store, 1, *GREEN, release="day_2")
    add(store, 2, *GREEN)
    assert find_baseline(store, "day_2", build(4, *GREEN)).name == "day_1"
    assert find_baseline(store, "day_1", build(4, *GREEN)).name == "day_1"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("last", "holds no run that started before run day_1 (2026-03-01T04:00:00.000+00:00)"),
        (
            "last-green",
            "no earlier passing run has half of its comparisons in common with run day_9",
        ),
        ("0.18", "holds no release and no run '0.18'; did you mean 0.18.0?"),
        (
            "nothing_like_it",
            "holds no release and no run 'nothing_like_it'; `parity store list` prints the runs",
        ),
    ],
)
def test_no_baseline(store: Store, name: str, message: str) -> None:
    add(store, 1, make_verdict(case="x"), release="0.18.0")
    run = build(1 if name == "last" else 9, *GREEN)
    with pytest.raises(UsageError) as caught:
        find_baseline(store, name, run)
    assert message in str(caught.value)
