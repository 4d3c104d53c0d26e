"""The history of a comparison, and the first run of a series in which it differs."""

from __future__ import annotations

import math

from tests.support.comparisons import make_run
from tests.support.verdicts import make_failure, make_shard_summary, make_verdict
from vlm_parity.changes.comparison import Comparison, State
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Verdict, VerdictKind
from vlm_parity.store.database import Store
from vlm_parity.store.history import list_history
from vlm_parity.store.import_run import RunLabels, import_run
from vlm_parity.store.onsets import find_onset

MARGIN = make_verdict(margins={Stage.PREFILL: 0.4})


def add(store: Store, day: int, verdict: Verdict) -> None:
    started = f"2026-03-{day:02}T04:00:00.000+00:00"
    shard = make_shard_summary(
        verdict,
        make_verdict(case="other"),
        session=str(day),
        started=started,
    )
    import_run(store, make_run(shard, name=f"day_{day}"), RunLabels(release=f"0.{day}"))


def test_the_history_of_a_comparison(store: Store) -> None:
    packages = {"vllm": "0.33.0"}
    add(store, 2, make_verdict({Stage.VISION: math.nan}, environment={"packages": packages}))
    add(store, 1, MARGIN)
    add(store, 3, make_verdict(case_digest="edited"))
    first, second = list_history(store, Comparison.of(MARGIN).identity)
    assert (first.run, first.release, first.started) == ("day_1", "0.1", "2026-03-01T04:00:00.000+00:00")
    assert (first.kind, first.state, first.first_divergence) == (VerdictKind.MATCH, State.AGREES, None)
    assert first.sizes == {Stage.VISION: 0.01, Stage.PREFILL: 0.4, Stage.DECODE: 0.01}
    assert (second.kind, second.first_divergence, second.packages) == (
        VerdictKind.MISMATCH,
        Stage.VISION,
        packages,
    )
    assert second.sizes[Stage.VISION] == math.inf


def test_a_comparison_that_no_run_holds_has_no_history(store: Store) -> None:
    add(store, 1, MARGIN)
    assert list_history(store, Comparison.of(make_verdict(case="absent")).identity) == ()


def find_start(store: Store, comparison: Comparison, before: str | None = None) -> str | None:
    point = find_onset(store, comparison, before)
    return point.run if point is not None else None


def test_the_onset_of_a_difference(store: Store) -> None:
    differs = make_verdict({Stage.VISION: 9.0})
    elsewhere = make_verdict({Stage.PREFILL: 9.0})
    crashed = make_failure(VerdictKind.CRASH)
    nights = (differs, MARGIN, elsewhere, differs, crashed, differs)
    for day, verdict in enumerate(nights, 1):
        add(store, day, verdict)
    assert find_start(store, Comparison.of(differs)) == "day_4"
    assert find_start(store, Comparison.of(differs), "2026-03-04T04:00:00.000+00:00") is None
    assert find_start(store, Comparison.of(differs), "2026-03-02T00:00:00.000+00:00") == "day_1"


def test_a_difference_that_no_earlier_run_has_has_no_onset(store: Store) -> None:
    add(store, 1, MARGIN)
    assert find_start(store, Comparison.of(make_verdict({Stage.VISION: 9.0}))) is None
