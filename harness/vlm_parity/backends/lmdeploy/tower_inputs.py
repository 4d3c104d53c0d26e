"""What enters LMDeploy's vision tower: the entries that its front end gives its engine, by medium."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vlm_parity.backends.base import Medium
from vlm_parity.backends.common.tower_inputs import Tower, dtype_of, in_order, readable
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span
from vlm_parity.util.errors import PrivateApiChangedError

Entries = Mapping[Modality, list[list[dict[str, Any]]]]
"""By modality the media in order, each with its entries: one, or one for each group of its frames."""


def media_of(tower: Tower, entries: Entries, spans: tuple[Span, ...]) -> tuple[Medium, ...] | None:
    """The media of a request, in the order of the spans; None where ``tower.missing`` says why.

    Raises:
        PrivateApiChangedError: the entries hold other things than they did.
    """
    if tower.missing:
        return None
    media = (
        _medium(tower, modality, item, pieces, spans)
        for modality, items in entries.items()
        for item, pieces in enumerate(items)
    )
    return in_order(media, spans)


def _medium(
    tower: Tower,
    modality: Modality,
    item: int,
    pieces: Sequence[Mapping[str, Any]],
    spans: tuple[Span, ...],
) -> Medium:
    import torch

    tensors = [
        {
            name: torch.as_tensor(value)
            for name, value in piece.items()
            if isinstance(value, torch.Tensor | float)
        }
        for piece in pieces
    ]
    whole = {name: _joined(name, [piece[name] for piece in tensors]) for name in tensors[0]}
    note = f"{len(pieces)} entries, one for each group of frames, put together" if len(pieces) > 1 else ""
    return replace(tower.medium(modality, item, whole, spans), note=note, dtype=dtype_of(tensors[0]))


def _joined(name: str, pieces: Sequence[Any]) -> Any:
    """One tensor of those of all entries: patches one behind the other, grids added up in time, what is one
    number a medium once."""
    import torch

    if len(pieces) == 1 or pieces[0].ndim == 0:
        return readable(pieces[0])
    if not name.endswith("_grid_thw"):
        return readable(torch.cat(tuple(pieces)))
    grids = torch.stack([piece.reshape(3) for piece in pieces])
    if (grids[:, 1:] != grids[0, 1:]).any():
        raise PrivateApiChangedError(f"LMDeploy's entries of one video have several sizes: {grids.tolist()}")
    return torch.stack([grids[:, 0].sum(), *grids[0, 1:]])
