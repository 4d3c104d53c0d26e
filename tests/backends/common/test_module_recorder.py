"""Module calls are recorded as they happen, with the rows of one request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import load_file

from vlm_parity.backends.common import module_recorder
from vlm_parity.backends.common.module_recorder import ModuleRecorder, StepRows
from vlm_parity.schema.module_calls import MODULE_VALUES_FILE, ModuleCall, ModuleCalls, read_module_calls
from vlm_parity.util.errors import UnsupportedError

WIDTH = 8
IDS = tuple(range(8))


class InPlace(torch.nn.Module):  # type: ignore[misc,name-defined]
    """Overwrites its input, as fused kernels do."""

    def forward(self, x: Any) -> Any:
        return x.mul_(2)


def make_model() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), InPlace())


def record(folder: Path, *steps: tuple[StepRows, Any], ids: tuple[int, ...] = IDS) -> ModuleCalls:
    model = make_model()
    recorder = ModuleRecorder(model)
    with torch.no_grad():
        for rows, inputs in steps:
            recorder.begin_step()
            model(inputs)
            recorder.is_active = False
            recorder.end_step(rows)
    recorder.close()
    recorder.write(folder, ids, "float32")
    return read_module_calls(folder)


def whole(count: int, first: int = 0) -> StepRows:
    return StepRows(first, 0, count, count)


def read(folder: Path, call: ModuleCall) -> tuple[Any, Any]:
    arrays = load_file(folder / MODULE_VALUES_FILE)
    return arrays[call.inputs[0].array], arrays[call.outputs[0].array]


def test_every_module_has_its_inputs_and_outputs(tmp_path: Path) -> None:
    rows = torch.randn(8, WIDTH)
    (calls,) = record(tmp_path, (whole(8), rows)).steps
    assert [call.module for call in calls] == ["", "0", "1"]
    assert calls[1].class_path == "torch.nn.modules.linear.Linear"
    given, returned = read(tmp_path, calls[1])
    assert torch.equal(given, rows)
    assert torch.equal(returned, make_model()[0](rows))


def test_an_input_is_copied_before_the_module_overwrites_it(tmp_path: Path) -> None:
    (calls,) = record(tmp_path, (whole(8), torch.randn(8, WIDTH))).steps
    given, returned = read(tmp_path, calls[2])
    assert torch.equal(given * 2, returned)


def test_equal_tensors_are_stored_once(tmp_path: Path) -> None:
    (calls,) = record(tmp_path, (whole(8), torch.randn(8, WIDTH))).steps
    assert calls[0].inputs[0].array == calls[1].inputs[0].array


def test_the_rows_of_other_requests_are_left_out(tmp_path: Path) -> None:
    rows = torch.randn(12, WIDTH)
    (calls,) = record(tmp_path, (StepRows(0, 3, 8, 12), rows)).steps
    assert torch.equal(read(tmp_path, calls[1])[0], rows[3:11])


def test_a_prompt_in_pieces_is_joined(tmp_path: Path) -> None:
    rows = torch.randn(8, WIDTH)
    steps = record(tmp_path, (whole(5), rows[:5]), (whole(3, 5), rows[5:])).steps
    assert len(steps) == 1
    assert torch.equal(read(tmp_path, steps[0][1])[0], rows)


class Attention(torch.nn.Module):  # type: ignore[misc,name-defined]
    def forward(self, query: Any, k_cache: Any, past_key_values: Any = None) -> Any:
        return query + k_cache[0, 0] + past_key_values[0][0, 0]


def test_the_cache_is_not_recorded(tmp_path: Path) -> None:
    recorder = ModuleRecorder(model := Attention())
    recorder.begin_step()
    model(torch.randn(8, WIDTH), torch.randn(9, 4, WIDTH), past_key_values=[torch.randn(9, 4, WIDTH)])
    recorder.end_step(whole(8))
    recorder.write(tmp_path, IDS, "float32")
    (calls,) = read_module_calls(tmp_path).steps
    assert [value.path for value in calls[0].inputs] == [".query"]


def test_values_without_rows_of_the_prompt_stay_apart(tmp_path: Path) -> None:
    one, two = torch.randn(4, WIDTH), torch.randn(6, WIDTH)
    steps = record(tmp_path, (whole(5), one), (whole(3, 5), two)).steps
    assert [call.module for call in steps[0]].count("0") == 2


def test_decoding_steps_follow_the_prompt(tmp_path: Path) -> None:
    rows = torch.randn(8, WIDTH)
    one = torch.randn(module_recorder.MIN_VALUES // WIDTH, WIDTH)  # as many numbers as are recorded at least
    prompt, decode = record(tmp_path, (whole(8), rows), (whole(1, 8), one)).steps
    assert torch.equal(read(tmp_path, prompt[1])[0], rows)
    assert torch.equal(read(tmp_path, decode[1])[0], one)


def test_a_prompt_with_a_cached_start_is_not_recorded(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="came from a cache"):
        record(tmp_path, (whole(3, 5), torch.randn(3, WIDTH)))


def test_a_model_that_calls_no_hook_is_not_recorded(tmp_path: Path) -> None:
    recorder = ModuleRecorder(make_model())
    recorder.begin_step()
    recorder.end_step(whole(8))
    with pytest.raises(UnsupportedError, match="compiled or captured graph"):
        recorder.write(tmp_path, IDS, "float32")


def test_too_much_to_record_ends_the_recording_and_not_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module_recorder, "MAX_RECORDED_BYTES", 200)
    with pytest.raises(UnsupportedError, match="GiB on this prompt"):
        record(tmp_path, (whole(8), torch.randn(8, WIDTH)))


def test_hooks_are_gone_after_the_recording() -> None:
    model = make_model()
    ModuleRecorder(model).close()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
