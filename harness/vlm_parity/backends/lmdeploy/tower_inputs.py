"""Vision and audio tower inputs in LMDeploy, from the multimodal entries of its frontend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vlm_parity.backends.base import CapturedMedium
from vlm_parity.backends.common.tower_inputs import TowerInputs, get_dtype, sort_by_spans, to_numpy_readable
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span
from vlm_parity.util.errors import PrivateApiChangedError

Entries = Mapping[Modality, list[list[dict[str, Any]]]]
"""Media in order, by modality; each with one entry, or with one for each group of its frames."""


def build_media(
    tower: TowerInputs, entries: Entries, spans: tuple[Span, ...]
) -> tuple[CapturedMedium, ...] | None:
    """Return the media of a request in the order of the spans.

    Args:
        tower: reader of the tensors.
        entries: of the request.
        spans: of the case.

    Returns:
        None if ``tower.not_captured`` holds a reason.

    Raises:
        PrivateApiChangedError: the entries have unknown fields, or those of one video do not belong together.
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
    joined = {name: _join_arrays(name, [piece[name] for piece in tensors]) for name in tensors[0]}
    note = f"{len(pieces)} entries, one for each group of frames, joined" if len(pieces) > 1 else ""
    return replace(tower.medium(modality, item, joined, spans), note=note, dtype=get_dtype(tensors[0]))


def _join_arrays(name: str, pieces: Sequence[Any]) -> Any:
    """Join the tensors of all entries of a medium: patches concatenated, grids added up in time.

    Of numbers, one for each medium, the first is returned.
    """
    import torch

    if len(pieces) == 1 or pieces[0].ndim == 0:
        return to_numpy_readable(pieces[0])
    if not name.endswith("_grid_thw"):
        return to_numpy_readable(torch.cat(tuple(pieces)))
    grids = torch.stack([piece.reshape(3) for piece in pieces])
    if (grids[:, 1:] != grids[0, 1:]).any():
        raise PrivateApiChangedError(
            f"LMDeploy's entries of one video have different sizes: {grids.tolist()}"
        )
    return torch.stack([grids[:, 0].sum(), *grids[0, 1:]])
