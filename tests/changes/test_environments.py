"""Changes of packages, settings, locks and sources, with the engines that they were found in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.support.verdicts import make_shard_summary, make_verdict
from vlm_parity.changes.environments import EnvironmentChange, list_environment_changes
from vlm_parity.changes.run_summary import RunSummary
from vlm_parity.schema.run import ModelInfo
from vlm_parity.schema.verdict import Verdict

OLD, NEW = {"transformers": "5.23.0", "vllm": "0.32.0"}, {"transformers": "5.24.0", "vllm": "0.32.0"}


def list_changes(
    before: Iterable[Verdict],
    after: Iterable[Verdict],
    before_shard: Mapping[str, Any] | None = None,
    after_shard: Mapping[str, Any] | None = None,
) -> tuple[EnvironmentChange, ...]:
    """List the changes between two runs of one shard each, of which some fields are given."""
    return list_environment_changes(
        *(
            RunSummary("run", "test", (make_shard_summary(*verdicts, **(shard or {})),))
            for verdicts, shard in ((before, before_shard), (after, after_shard))
        )
    )


def make_shard(digest: str, source: str) -> Mapping[str, Any]:
    model = ModelInfo(name="qwen2_vl", family="qwen2_vl", source=source)
    return {"lock": f"vllm {digest}", "models": (model,)}


def test_equal_environments_have_no_change() -> None:
    shard = make_shard("aa", "synthetic")
    assert list_changes([make_verdict()], [make_verdict()], shard, shard) == ()


def test_a_package_of_both_sides_is_one_change() -> None:
    before, after = (
        [make_verdict(backend=name, environment={"packages": packages}) for name in ("lmdeploy", "vllm")]
        for packages in (OLD, NEW)
    )
    (change,) = list_changes(before, after)
    assert change.text == "transformers 5.23.0 -> 5.24.0"
    assert change.places == ("lmdeploy", "vllm")


def test_a_change_of_the_reference_alone_is_its_own() -> None:
    before = make_verdict()
    trace = before.reference.environment.model_copy(update={"dtype": "float64"})
    after = before.model_copy(
        update={"reference": before.reference.model_copy(update={"environment": trace})}
    )
    (change,) = list_changes([before], [after])
    assert change.text == "reference dtype float32 -> float64"


def test_device_settings_and_workarounds() -> None:
    before = make_verdict(environment={"workarounds": ("torch.compile: off",)})
    after = make_verdict(environment={"device": "cuda", "settings": {"max_model_len": 64}})
    texts = [change.text for change in list_changes([before], [after])]
    assert texts == [
        "device cpu -> cuda",
        "setting max_model_len none -> 64",
        "workaround torch.compile present -> none",
    ]


def test_locks_and_sources() -> None:
    shards = make_shard("aa", "synthetic"), make_shard("bb", "org/name@1")
    assert list_changes([make_verdict()], [make_verdict()], *shards) == (
        EnvironmentChange("lock", "vllm aa", "vllm bb", ("vllm",)),
        EnvironmentChange("source", "synthetic", "org/name@1", ("qwen2_vl",)),
    )


def test_an_engine_of_one_run_alone_is_no_change() -> None:
    shard = make_shard("aa", "synthetic")
    assert list_changes([make_verdict()], [], shard, shard) == ()
    assert list_changes([make_verdict()], [make_verdict(backend="lmdeploy")]) == ()


def test_several_values_of_one_run_are_listed() -> None:
    before = [make_verdict(environment={"packages": OLD})]
    after = [*before, make_verdict(case="two", environment={"packages": NEW})]
    (change,) = list_changes(before, after)
    assert change.text == "transformers 5.23.0 -> 5.23.0, 5.24.0"
