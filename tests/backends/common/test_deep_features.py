"""Deep features stand behind those that are merged, in the rows of their media."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from vlm_parity.backends.common.deep_features import join_deep_features

EMBEDDINGS = torch.arange(6.0).reshape(3, 2)


def test_a_model_without_deep_features_has_its_embeddings_alone() -> None:
    assert torch.equal(join_deep_features(EMBEDDINGS, None, None), EMBEDDINGS)


def test_each_level_stands_behind_and_text_has_zeros() -> None:
    mask = torch.tensor([False, True, False])
    joined = join_deep_features(EMBEDDINGS, mask, [torch.full((1, 2), 7.0), torch.full((1, 2), 8.0)])
    assert joined.tolist() == [[0, 1, 0, 0, 0, 0], [2, 3, 7, 7, 8, 8], [4, 5, 0, 0, 0, 0]]


def test_the_first_prompt_of_a_batch_has_the_first_rows() -> None:
    mask = torch.tensor([True, False, False])
    both = torch.tensor([[1.0, 1.0], [2.0, 2.0]])
    assert join_deep_features(EMBEDDINGS, mask, [both])[0].tolist() == [0, 1, 1, 1]
