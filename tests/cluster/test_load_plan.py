"""Loads of a run on a cluster: one for each engine, with a name and an order."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.cluster.load_plan import plan_loads
from vlm_parity.schema.engine_setup import EntryPoint
from vlm_parity.schema.run_layout import check_shard_name
from vlm_parity.session.plan import EngineLoad

LOADS = st.builds(
    EngineLoad,
    model=st.sampled_from(["qwen2_vl", "org/name@main", "org/name", "./a b", "日本", "x" * 300]),
    backend=st.sampled_from(["vllm", "lmdeploy"]),
    mode=st.sampled_from(["default", "batched"]),
    entry_point=st.sampled_from(list(EntryPoint)),
)


def test_entry_points_that_share_an_engine_are_one_load() -> None:
    cases = {EngineLoad("qwen2_vl", "vllm", entry_point=name): 3 for name in EntryPoint}
    loads = plan_loads(cases)
    assert [(load.name, load.verdicts) for load in loads] == [
        ("qwen2_vl-vllm", 9),
        ("qwen2_vl-vllm-server", 3),
    ]
    assert loads[0].words == (
        *("--backend", "vllm", "--model=qwen2_vl", "--mode", "default"),
        *("--entry-point", "chat", "--entry-point", "text", "--entry-point", "token_ids"),
        *("--shard", "qwen2_vl-vllm"),
    )


@given(st.dictionaries(LOADS, st.integers(1, 9)))
def test_every_case_is_in_exactly_one_load(cases: dict[EngineLoad, int]) -> None:
    loads = plan_loads(cases)
    planned = Counter((load.engine, entry_point) for load in loads for entry_point in load.entry_points)
    assert planned == Counter((load.engine, load.entry_point) for load in cases)
    assert sum(load.verdicts for load in loads) == sum(cases.values())


@given(st.dictionaries(LOADS, st.integers(1, 9)))
def test_names_of_shards_are_valid_and_unique(cases: dict[EngineLoad, int]) -> None:
    names = [check_shard_name(load.name) for load in plan_loads(cases)]
    assert len(set(names)) == len(names)
