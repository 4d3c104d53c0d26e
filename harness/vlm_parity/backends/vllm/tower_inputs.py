"""Vision and audio tower inputs in vLLM.

vLLM's processor normalizes pixels itself or, by default for many models, passes them on as bytes, which the
model normalizes on its device (``mm_device_do_normalize``). In the second case vLLM's own module is applied
to the bytes here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from vlm_parity.backends.base import CapturedMedium
from vlm_parity.backends.common.tower_inputs import (
    PIXELS,
    TowerInputs,
    get_dtype,
    sort_by_spans,
    to_numpy_readable,
)
from vlm_parity.backends.vllm.input_norm import InputNorm, InputNormFinder
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span

_ROWS = 2  # number of dimensions of patches in rows
NOTE = "normalized by vLLM's own module from bytes, in float32, before it is rounded to the model's dtype"


def build_media(
    find_input_norm: InputNormFinder,
    config: Any,
    tower: TowerInputs,
    items: Mapping[Modality, Iterable[Mapping[str, Any]]],
    spans: tuple[Span, ...],
) -> tuple[CapturedMedium, ...] | None:
    """Return the media of a request in the order of the spans.

    Args:
        find_input_norm: finds the normalization of this release.
        config: vLLM's ``VllmConfig``.
        tower: reader of the tensors.
        items: model arguments of each medium, by name, by modality.
        spans: of the case.

    Returns:
        None if ``tower.not_captured`` holds a reason.

    Raises:
        PrivateApiChangedError: vLLM has moved a name.
    """
    if tower.not_captured:
        return None
    media = (
        _build_medium(find_input_norm, config, tower, modality, index, data, spans)
        for modality, modality_items in items.items()
        for index, data in enumerate(modality_items)
    )
    return sort_by_spans(media, spans)


def _build_medium(
    find_input_norm: InputNormFinder,
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
    norm = find_input_norm(config) if pixels else None
    if norm is not None:  # for floats too: the model's module would normalize them a second time
        for name in pixels:
            tensors[name] = _normalize(norm, tensors[name])
        dtype, bias = "float32", norm.bias
    readable = {name: to_numpy_readable(value) for name, value in tensors.items()}
    medium = tower.medium(modality, item, readable, spans)
    return replace(medium, dtype=dtype, device_norm_bias=bias, note="" if bias is None else NOTE)


def _normalize(norm: InputNorm, pixels: Any) -> Any:
    """Apply vLLM's module to pixels, float32.

    The module expects rows with one channel after the other; images of shape [..., channels, height, width]
    have that layout when they are flattened.
    """
    rows = pixels if pixels.ndim == _ROWS else pixels.reshape(-1, math.prod(pixels.shape[-3:]))
    return norm.normalize_rows(rows).reshape(pixels.shape)
