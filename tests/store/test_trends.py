"""Trends: the history of a comparison, and the times of engine loads."""

from __future__ import annotations

import math

from tests.support.comparisons import make_run
from tests.support.verdicts import make_shard_summary, make_verdict
from vlm_parity.changes.comparison import Comparison, State
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Verdict, VerdictKind
from vlm_parity.store.database import Store
from vlm_parity.store.import_run import RunLabels, import_run
from vlm_parity.store.trends import LoadTime, list_history, list_load_times

MARGIN = make_verdict(margins={Stage.PREFILL: 0.4})


def add(store: Store, day: int, verdict: Verdict, **seconds: float) -> None:
    started = f"2026-03-{day:02}T04:00:00.000+00:00"
    shard = make_shard_summary(
        verdict,
        make_verdict(case="other"),
        session=str(day),
        started=started,
        seconds={f"qwen2_vl/{name}": value for name, value in seconds.items()},
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


def test_the_times_of_loads(store: Store) -> None:
    add(store, 2, MARGIN, **{"vllm/load": 30.0})
    add(store, 1, MARGIN, **{"vllm-batched/load": 20.0, "vllm/capture": 5.0, "checkpoint": 1.0})
    started = "2026-03-01T04:00:00.000+00:00"
    first, second = list_load_times(store)
    assert first == LoadTime("day_1", "0.1", started, "qwen2_vl", "vllm-batched", 20.0)
    assert (second.run, second.backend, second.seconds) == ("day_2", "vllm", 30.0)
