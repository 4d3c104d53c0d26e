"""Values given to a prompt inside LMDeploy's engine, wherever its rows are in the batch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from vlm_parity.backends.lmdeploy.given_values import (
    DEEP_FEATURES,
    DEEP_MASK,
    GivenValues,
    find_rows,
)

IDS = (5, 9, 9, 6)
OTHER = [7, 9, 8]
HIDDEN = 2
POSITIONS = np.array([[0, 1, 1, 2]] * 3)
FEATURES = np.arange(8, dtype=np.float32).reshape(2, 2 * HIDDEN) + 1


def step(*pieces: tuple[list[int], int], is_decoding: bool = False) -> Any:
    """Build LMDeploy's ``ModelInputs`` of a step: the ids of each piece, and where it starts."""
    ids = [token for piece, _ in pieces for token in piece]
    return SimpleNamespace(
        input_ids=torch.tensor([ids]),
        seq_length=torch.tensor([len(piece) for piece, _ in pieces]),
        history_lengths=torch.tensor([first for _, first in pieces]),
        mrope_pos_ids=torch.full((3, len(ids)), -1),
        is_decoding=is_decoding,
    )


def values(deep_levels: int = 0) -> GivenValues:
    features = FEATURES[:, : HIDDEN * (1 + deep_levels)]
    return GivenValues(IDS, POSITIONS, (1, 2), features, deep_levels)


def embed(ids: Any) -> Any:
    return torch.zeros(*ids.shape, HIDDEN)


def test_a_prompt_is_found_behind_another_and_in_pieces() -> None:
    assert find_rows(step((OTHER, 0), (list(IDS), 0)), IDS) == [(0, slice(3, 7))]
    assert find_rows(step((list(IDS[2:]), 2)), IDS) == [(2, slice(0, 2))]
    assert find_rows(step((OTHER, 0)), IDS) == []


def test_positions_are_given_to_the_rows_of_the_prompt_only() -> None:
    inputs = step((OTHER, 0), (list(IDS), 0))
    values().set_positions(inputs)
    assert inputs.mrope_pos_ids[0].tolist() == [-1, -1, -1, 0, 1, 1, 2]


def test_a_decoding_step_is_left_alone() -> None:
    inputs = step(([6], 4), is_decoding=True)
    values().set_positions(inputs)
    assert inputs.mrope_pos_ids[0].tolist() == [-1]
    arguments = {"input_ids": inputs.input_ids}
    assert values().set_features(inputs, embed, arguments) is arguments


def test_features_take_their_rows_and_text_keeps_the_embedding_of_the_engine() -> None:
    inputs = step((OTHER, 0), (list(IDS), 0))
    own = torch.full((1, 7, HIDDEN), -1.0)
    given = values().set_features(inputs, embed, {"inputs_embeds": own})
    assert given["inputs_embeds"][0, 4:6].tolist() == FEATURES[:, :HIDDEN].tolist()
    assert (given["inputs_embeds"][0, [0, 1, 2, 3, 6]] == -1).all()
    assert (own == -1).all()  # the engine's own tensor is untouched
    assert DEEP_MASK not in given


def test_a_piece_gets_the_features_of_its_own_positions() -> None:
    inputs = step((list(IDS[2:]), 2))
    given = values().set_features(inputs, embed, {})  # Gemma 3 passes the ids by position
    assert given["inputs_embeds"][0].tolist() == [FEATURES[1, :HIDDEN].tolist(), [0, 0]]


def test_deep_features_join_those_of_another_request() -> None:
    inputs = step((OTHER, 0), (list(IDS), 0))
    own = torch.zeros(1, 7, HIDDEN)
    mask = torch.zeros(7, dtype=torch.bool)
    mask[1] = True
    arguments = {
        "inputs_embeds": own,
        DEEP_MASK: mask[None, :, None].expand_as(own),
        DEEP_FEATURES: [torch.full((1, HIDDEN), 50.0)],
    }
    given = values(deep_levels=1).set_features(inputs, embed, arguments)
    assert given[DEEP_MASK][0, :, 0].tolist() == [False, True, False, False, True, True, False]
    assert given[DEEP_FEATURES][0].tolist() == [[50, 50], *FEATURES[:, HIDDEN:].tolist()]
