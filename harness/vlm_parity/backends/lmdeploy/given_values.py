"""Values that a prompt gets in LMDeploy's engine in place of those that the engine would compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

DEEP_FEATURES, DEEP_MASK = "deepstack_visual_embeds", "visual_pos_masks"
"""Arguments of a language model with deep features: [embedded, hidden] for each level, and the mask of the
embedded rows, expanded to [1, rows, hidden]."""


def find_rows(inputs: Any, ids: Sequence[int]) -> list[tuple[int, slice]]:
    """Return the pieces of a prompt in a step: the position of the first row of each, and its rows.

    Args:
        inputs: LMDeploy's ``ModelInputs``.
        ids: of the prompt.
    """
    found = []
    run = inputs.input_ids[0].tolist()
    start = 0
    for first, count in zip(inputs.history_lengths.tolist(), inputs.seq_length.tolist(), strict=True):
        if run[start : start + count] == list(ids[first : first + count]):
            found.append((first, slice(start, start + count)))
        start += count
    return found


@dataclass(frozen=True)
class GivenValues:
    """The given values of one prompt."""

    ids: tuple[int, ...]
    positions: np.ndarray
    """int64 [axes, prompt positions]"""
    embedded: tuple[int, ...]
    """The prompt positions that features replace."""
    features: np.ndarray | None
    """float32 [embedded positions, hidden * (1 + deep levels)]"""
    deep_levels: int

    def set_positions(self, inputs: Any) -> None:
        """Set the positions of a step of the prompt; later steps follow from its last column.

        Args:
            inputs: LMDeploy's ``ModelInputs``.
        """
        if inputs.mrope_pos_ids is None or inputs.is_decoding:
            return
        import torch

        positions = inputs.mrope_pos_ids.clone()
        for first, rows in find_rows(inputs, self.ids):
            given = self.positions[:, first : first + rows.stop - rows.start]
            positions[:, rows] = torch.from_numpy(given).to(positions)
        inputs.mrope_pos_ids = positions

    def set_features(self, inputs: Any, embed: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of the language model with the features in their rows.

        Args:
            inputs: LMDeploy's ``ModelInputs``.
            embed: module of the engine that embeds ids.
            kwargs: the engine's own arguments.
        """
        import torch

        if self.features is None or inputs.is_decoding:
            return kwargs
        embeddings = kwargs.get("inputs_embeds")
        embeddings = embed(inputs.input_ids) if embeddings is None else embeddings.clone()
        levels = self._spread_levels(embeddings, kwargs)
        mask = self._read_mask(embeddings, kwargs)
        features = torch.from_numpy(self.features).to(embeddings)
        hidden = embeddings.shape[-1]
        for first, rows in find_rows(inputs, self.ids):
            indices = [i for i, p in enumerate(self.embedded) if 0 <= p - first < rows.stop - rows.start]
            at = [rows.start + self.embedded[i] - first for i in indices]
            for level, target in enumerate((embeddings[0], *levels)):
                target[at] = features[indices, level * hidden : (level + 1) * hidden]
            mask[at] = True
        given = kwargs | {"inputs_embeds": embeddings}
        if levels and mask.any():
            given[DEEP_MASK] = mask[None, :, None].expand_as(embeddings)
            given[DEEP_FEATURES] = [level[mask] for level in levels]
        return given

    def _spread_levels(self, embeddings: torch.Tensor, kwargs: dict[str, Any]) -> list[torch.Tensor]:
        """Return the deep features of all rows, those of other requests included: [rows, hidden] each."""
        levels = [embeddings.new_zeros(embeddings.shape[1:]) for _ in range(self.deep_levels)]
        mask = self._read_mask(embeddings, kwargs)
        for level, own in zip(levels, kwargs.get(DEEP_FEATURES) or (), strict=False):
            level[mask] = own.to(level)
        return levels

    @staticmethod
    def _read_mask(embeddings: torch.Tensor, kwargs: dict[str, Any]) -> torch.Tensor:
        """Return which rows have deep features: bool [rows]."""
        import torch

        mask = kwargs.get(DEEP_MASK)
        if mask is None:
            return torch.zeros(embeddings.shape[1], dtype=torch.bool, device=embeddings.device)
        rows: torch.Tensor = mask[0, :, 0].clone()
        return rows
