"""What enters vLLM's vision tower.

vLLM hands pixels to the model as its processor made them, or, by default for many models, as bytes
that the model normalises on its device (``mm_device_do_normalize``). What enters the tower is then
what vLLM's own normalisation makes of the bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from vlm_parity.backends.base import CapturedMedium
from vlm_parity.backends.common.tower_inputs import PIXELS, TowerInputs, get_dtype, sort_by_spans, to_numpy
from vlm_parity.backends.vllm.input_norm import InputNorm, InputNormFinder
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span

_ROWS = 2  # dimensions of patches in rows
NOTE = "normalised by vLLM's own module from bytes, in float32, before it is rounded to the model's dtype"


def build_media(
    normalises: InputNormFinder,
    config: Any,
    tower: TowerInputs,
    items: Mapping[Modality, Iterable[Mapping[str, Any]]],
    spans: tuple[Span, ...],
) -> tuple[CapturedMedium, ...] | None:
    """The media of a request, in the order of the spans; None where ``tower.missing`` says why.

    Args:
        normalises: how this release does it.
        config: vLLM's ``VllmConfig``.
        tower: reads the items.
        items: what vLLM hands to the model of each medium, by name, by modality.
        spans: the case's.

    Raises:
        PrivateApiChangedError: vLLM has moved what is needed.
    """
    if tower.not_captured:
        return None
    media = (
        _build_medium(normalises, config, tower, modality, index, data, spans)
        for modality, found in items.items()
        for index, data in enumerate(found)
    )
    return sort_by_spans(media, spans)


def _build_medium(
    normalises: InputNormFinder,
    config: Any,
    tower: TowerInputs,
    modality: Modality,
    item: int,
    data: Mapping[str, Any],
    spans: tuple[Span, ...],
) -> CapturedMedium:
    import torch

    tensors = {name: value for name, value in data.items() if isinstance(value, torch.Tensor)}
    dtype, bias = get_dtype(tensors), None
    pixels = [name for name in tensors if name.startswith(PIXELS)]
    norm = normalises(config) if pixels else None
    if norm is not None:  # whatever it is handed: it would normalise a second time, too
        for name in pixels:
            tensors[name] = _normalize(norm, tensors[name])
        dtype, bias = "float32", norm.bias
    found = tower.medium(modality, item, {name: to_numpy(value) for name, value in tensors.items()}, spans)
    return replace(found, dtype=dtype, device_norm_bias=bias, note="" if bias is None else NOTE)


def _normalize(norm: InputNorm, pixels: Any) -> Any:
    """What vLLM's module makes of pixels, float32: it takes rows that hold one channel behind the other,
    and models whose pictures are [..., channels, height, width] lay these out so.
    """
    rows = pixels if pixels.ndim == _ROWS else pixels.reshape(-1, math.prod(pixels.shape[-3:]))
    return norm.rows(rows).reshape(pixels.shape)
