"""The engine's counterpart of a value is found by its numbers, whatever its name and layout are."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from vlm_parity.backends.transformers.engine_values import EngineValues, compute_distance
from vlm_parity.backends.transformers.module_names import compute_similarity
from vlm_parity.schema.module_calls import ModuleCall, RecordedValue

ROWS, HEADS, DIM = 6, 2, 16
RANDOM = torch.Generator().manual_seed(3)


def random(*shape: int) -> Any:
    return torch.randn(*shape, generator=RANDOM)


def make_values(*calls: tuple[str, list[Any], list[Any]]) -> EngineValues:
    """Return values of calls, each with its name, inputs and outputs."""
    arrays: dict[str, Any] = {}

    def record(tensors: list[Any]) -> tuple[RecordedValue, ...]:
        found = []
        for index, tensor in enumerate(tensors):
            name = f"a{len(arrays)}"
            arrays[name] = tensor
            found.append(RecordedValue(path=f"[{index}]", array=name))
        return tuple(found)

    records = [
        ModuleCall(module=name, class_path=f"engine.{name}", inputs=record(given), outputs=record(made))
        for name, given, made in calls
    ]
    return EngineValues(records, arrays)


def find(values: EngineValues, value: Any, name: str = "m", side: str = "output") -> Any:
    return values.find(value, name, side)


def test_a_value_is_found_under_any_name_and_batch_axis() -> None:
    own, other = random(ROWS, 32), random(ROWS, 32)
    found = find(make_values(("x.y", [other], [own])), own[None] + 1e-7)
    assert found.distance < 1e-6
    assert found.place.module == "x.y"
    assert found.value.shape == (1, ROWS, 32)


def test_a_block_of_columns_of_a_fused_projection_is_found() -> None:
    fused = random(ROWS, 96)
    found = find(make_values(("qkv_proj", [], [fused])), fused[None, :, 32:64])
    assert found.distance == 0


def test_a_block_of_columns_is_found_in_one_row() -> None:
    fused = random(1, 96)
    assert find(make_values(("gate_up_proj", [], [fused])), fused[:, 48:]).distance == 0


def test_rows_of_one_medium_are_found_among_those_of_all() -> None:
    both = random(10, HEADS, DIM)
    found = find(make_values(("attn", [], [both])), both[4:].flatten(1)[None])
    assert found.distance == 0


def test_heads_and_positions_may_be_exchanged() -> None:
    own = random(ROWS, HEADS, DIM)
    found = find(make_values(("attn", [], [own])), own.transpose(0, 1)[None])
    assert found.distance == 0
    assert found.value.shape == (1, HEADS, ROWS, DIM)


def test_the_residual_stream_is_the_sum_of_two_arguments() -> None:
    hidden, residual = random(ROWS, 32), random(ROWS, 32)
    found = find(make_values(("layers.1", [hidden, residual], [])), hidden + residual)
    assert found.distance < 1e-6


def test_calls_for_each_medium_are_joined() -> None:
    one, two = random(4, 32), random(6, 32)
    values = make_values(("tower", [], [one]), ("tower", [], [two]))
    assert find(values, torch.cat([one, two])).distance == 0


def test_an_engine_may_project_the_last_row_alone() -> None:
    last = random(1, 32)
    rows = torch.cat([random(ROWS - 1, 32), last])
    assert find(make_values(("lm_head", [last], [])), rows).distance == 0


def test_the_last_row_does_not_outrank_the_whole_value() -> None:
    own = random(ROWS, 32)
    wrong = own.clone()
    wrong[:3] += 5
    values = make_values(("norm", [], [wrong]), ("lm_head", [own[-1:]], []))
    assert find(values, own, "norm").place.module == "norm"


def test_a_name_decides_where_no_value_is_near() -> None:
    values = make_values(
        ("layers.0.self_attn.attn", [], [random(ROWS, 32)]),
        ("layers.1.self_attn.attn", [], [random(ROWS, 32)]),
    )
    found = find(values, random(ROWS, 32), "model.layers.1.self_attn::attention")
    assert found.place.module == "layers.1.self_attn.attn"
    assert found.distance > 0.5


def test_a_value_far_off_is_found_by_its_name_among_many() -> None:
    others: list[tuple[str, list[Any], list[Any]]] = [
        (f"layers.{index}.norm", [], [random(ROWS, 32)]) for index in range(20)
    ]
    own = random(ROWS, 32)
    values = make_values(*others, ("layers.7.proj", [], [own + 1e9]))
    assert find(values, own, "model.layers.7.proj").place.module == "layers.7.proj"


def test_values_that_are_no_numbers_are_no_counterpart() -> None:
    own = random(ROWS, 32)
    broken = own.clone()
    broken[0, 0] = float("nan")
    assert find(make_values(("layers.7.proj", [], [broken])), own, "layers.7.proj") is None


def test_nothing_near_of_another_name_is_no_counterpart() -> None:
    assert find(make_values(("x", [], [random(ROWS, 32)])), random(ROWS, 32), "layers.0.mlp") is None


def test_distances_are_relative() -> None:
    value = random(ROWS, 32)
    assert compute_distance(value * 1.05, value) == pytest.approx(0.05, rel=1e-3)
    assert compute_distance(torch.zeros(4), torch.zeros(4)) == 0
    assert compute_distance(torch.ones(4), torch.zeros(4)) == 1


@pytest.mark.parametrize(
    ("name", "other", "expected"),
    [
        ("model.layers.0.self_attn.q_proj", "language_model.model.layers.0.self_attn.qkv_proj", 1.0),
        ("model.layers.0.mlp", "layers.1.mlp", 0.0),
        ("visual.blocks.0.attn::attention", "visual.blocks.0.attn.attn", 1.0),
        ("norm", "head", 0.0),
    ],
)
def test_similarity_of_names(name: str, other: str, expected: float) -> None:
    assert compute_similarity(name, other) == expected
