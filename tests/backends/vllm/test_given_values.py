"""Values given to a prompt inside vLLM's model runner; other requests get what they always get."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from vlm_parity.backends.vllm.given_values import GivenValues
from vlm_parity.util.errors import PrivateApiChangedError

IDS = [5, 9, 9, 6]
POSITIONS = np.array([[0, 1, 1, 2]] * 3)
FEATURES = np.ones((2, 4), np.float32)


class Runner:
    """The part of vLLM's V1 model runner that is replaced."""

    uses_mrope = True
    dtype = torch.bfloat16
    device = "cpu"

    def __init__(self) -> None:
        self.encoder_cache: dict[str, Any] = {}

    def _batch_mm_inputs_from_scheduler(self, scheduled: Any) -> Any:
        return tuple(scheduled)

    def _init_mrope_positions(self, state: Any) -> None:
        state.mrope_positions, state.mrope_position_delta = "own", 0


def state(ids: list[int]) -> Any:
    return SimpleNamespace(prompt_token_ids=ids)


def test_features_go_where_those_of_the_tower_would() -> None:
    runner = Runner()
    GivenValues(runner, IDS, None, {"given": FEATURES})
    scheduled = (["other", "given"], ["its pixels", "none"], ["a", "b"])
    assert runner._batch_mm_inputs_from_scheduler(scheduled) == (["other"], ["its pixels"], ["a"])
    assert list(runner.encoder_cache) == ["given"]
    assert runner.encoder_cache["given"].dtype is torch.bfloat16


def test_positions_are_those_of_the_reference_and_decoding_goes_on_where_it_does() -> None:
    runner = Runner()
    GivenValues(runner, IDS, (POSITIONS, 3), {})
    own, other = state(IDS), state([7])
    runner._init_mrope_positions(own)
    runner._init_mrope_positions(other)
    assert (own.mrope_positions.numpy() == POSITIONS).all()
    assert own.mrope_position_delta == -1
    assert other.mrope_positions == "own"


def test_everything_is_taken_back() -> None:
    runner = Runner()
    GivenValues(runner, IDS, (POSITIONS, 3), {"given": FEATURES}).restore()
    again = state(IDS)
    runner._init_mrope_positions(again)
    assert again.mrope_positions == "own"
    assert runner._batch_mm_inputs_from_scheduler((["given"], ["its pixels"], ["a"]))[0] == ["given"]
    assert not runner.encoder_cache


def test_a_missing_method_is_named() -> None:
    class Renamed(Runner):
        _init_mrope_positions = property()

    GivenValues(Renamed(), IDS, None, {})
    with pytest.raises(PrivateApiChangedError, match="Renamed has no _init_mrope_positions"):
        GivenValues(Renamed(), IDS, (POSITIONS, 3), {})
