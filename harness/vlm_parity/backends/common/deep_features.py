"""Media features that the language model adds to the outputs of deeper layers: Qwen3-VL's deepstack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def join_deep_features(
    embeddings: torch.Tensor, mask: torch.Tensor | None, levels: Sequence[torch.Tensor] | None
) -> torch.Tensor:
    """Return the features of all layers side by side: [positions, hidden * (1 + levels)].

    Args:
        embeddings: [positions, hidden], the inputs of the first layer.
        mask: bool [positions], which of them are embedded; None without deep features.
        levels: features of each deeper layer, [embedded positions, hidden], those of a batch's first prompt
            first; None without deep features.
    """
    import torch

    joined = [embeddings]
    for level in levels or ():
        assert mask is not None
        deep = torch.zeros_like(embeddings)
        deep[mask] = level[: int(mask.sum())].to(deep)
        joined.append(deep)
    return torch.cat(joined, dim=1)
