"""What enters LMDeploy's vision tower: the entries that its front end gives its engine, by medium."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vlm_parity.backends.base import CapturedMedium
from vlm_parity.backends.common.tower_inputs import TowerInputs, get_dtype, sort_by_spans, to_numpy
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span
from vlm_parity.util.errors import PrivateApiChangedError

Entries = Mapping[Modality, list[list[dict[str, Any]]]]
"""By modality the media in order, each with its entries: one, or one for each group of its frames."""


def build_media(
    tower: TowerInputs, entries: Entries, spans: tuple[Span, ...]
) -> tuple[CapturedMedium, ...] | None:
    """The media of a request, in the order of the spans; None where ``tower.missing`` says why.

    Raises:
        PrivateApiChangedError: the entries hold other things than they did.
    """
    if tower.not_captured:
        return None
    media = (
        _build_medium(tower, modality, item, pieces, spans)
        for modality, items in entries.items()
        for item, pieces in enumerate(items)
    )
    return sort_by_spans(media, spans)


def _build_medium(
    tower: TowerInputs,
    modality: Modality,
    item: int,
    pieces: Sequence[Mapping[str, Any]],
    spans: tuple[Span, ...],
) -> CapturedMedium:
    import torch

    tensors = [
        {
            name: torch.as_tensor(value)
            for name, value in piece.items()
            if isinstance(value, torch.Tensor | float)
        }
        for piece in pieces
    ]
    whole = {name: _join_arrays(name, [piece[name] for piece in tensors]) for name in tensors[0]}
    note = f"{len(pieces)} entries, one for each group of frames, put together" if len(pieces) > 1 else ""
    return replace(tower.medium(modality, item, whole, spans), note=note, dtype=get_dtype(tensors[0]))


def _join_arrays(name: str, pieces: Sequence[Any]) -> Any:
    """One tensor of those of all entries: patches one behind the other, grids added up in time, what is one
    number a medium once.
    """
    import torch

    if len(pieces) == 1 or pieces[0].ndim == 0:
        return to_numpy(pieces[0])
    if not name.endswith("_grid_thw"):
        return to_numpy(torch.cat(tuple(pieces)))
    grids = torch.stack([piece.reshape(3) for piece in pieces])
    if (grids[:, 1:] != grids[0, 1:]).any():
        raise PrivateApiChangedError(f"LMDeploy's entries of one video have several sizes: {grids.tolist()}")
    return torch.stack([grids[:, 0].sum(), *grids[0, 1:]])
