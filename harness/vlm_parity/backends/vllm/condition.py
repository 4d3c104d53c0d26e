"""Runs vLLM on values of the reference in place of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any
from uuid import uuid4

import numpy as np

from vlm_parity.backends.base import CapturedMedium, Inputs, ReferenceValues
from vlm_parity.backends.common.tower_inputs import PIXELS
from vlm_parity.backends.vllm.positions import compute_positions
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span
from vlm_parity.util.errors import UnsupportedError

ReadMedia = Callable[[Mapping[str, Any]], tuple[CapturedMedium, ...] | None]
"""Returns the tower inputs of a rendered prompt whose pixels are normalized."""
_MROPE_AXES = 3
_FIELDS = {"grid_thw": "grid", "second_per_grid_ts": "second_per_grid"}
"""The end of vLLM's name of a small tensor, to the field of the harness."""


@contextmanager
def give_features(llm: Any, inputs: Inputs, values: ReferenceValues) -> Iterator[Inputs]:
    """Run a prompt on the reference's ids, positions and features while the block runs; no tower runs.

    Args:
        llm: vLLM's ``LLM``, with ``CaptureExtension``.
        inputs: vLLM's own.
        values: of the reference.

    Yields:
        The inputs for ``LogitsGenerator.outputs``. Their hashes are new, so no cache holds anything of them.

    Raises:
        PrivateApiChangedError: vLLM's model runner lacks a method.
    """
    prompt = {**inputs.prepared, "prompt_token_ids": list(values.input_ids)}
    features: dict[str, np.ndarray] = {}
    if values.spans:
        places = _build_places(values.spans)
        hashes = _build_hashes(places)
        prompt |= {
            "type": "multimodal",
            "mm_placeholders": places,
            "mm_hashes": hashes,
            "mm_kwargs": _build_empty_items(places),
        }
        assert values.features is not None
        start = 0
        for span in values.spans:
            features[hashes[span.modality][span.item]] = values.features[start : start + span.embedded]
            start += span.embedded
    arguments = (list(values.input_ids), _get_positions(values), features, False)
    with _give(llm, arguments):
        yield replace(
            inputs,
            prepared=prompt,
            decoy=None,
            input_ids=values.input_ids,
            spans=values.spans,
            positions=None,
        )


@contextmanager
def give_media(llm: Any, inputs: Inputs, values: ReferenceValues, read_media: ReadMedia) -> Iterator[Inputs]:
    """Run a prompt on the reference's ids and tower inputs while the block runs.

    Args:
        llm: as for ``give_features``.
        inputs: likewise.
        values: likewise.
        read_media: reads back what the towers get.

    Yields:
        As ``give_features``.

    Raises:
        UnsupportedError: vLLM has the media at other places, or in another form.
        PrivateApiChangedError: vLLM has moved a class.
    """
    if inputs.spans != values.spans or not values.spans:
        raise UnsupportedError("vLLM can be given media only where it has media itself, at the same places")
    own = inputs.prepared
    prompt = {
        **own,
        "prompt_token_ids": list(values.input_ids),
        "mm_hashes": _build_hashes(own["mm_placeholders"]),
        "mm_kwargs": _replace_tensors(own["mm_kwargs"], values.media),
    }
    with _give(llm, (list(values.input_ids), None, {}, True)):
        yield replace(
            inputs,
            prepared=prompt,
            decoy=None,
            input_ids=values.input_ids,
            positions=None,
            media=read_media(prompt),
        )


def compute_given_positions(
    config: Any, inputs: Inputs, values: ReferenceValues, read_media: ReadMedia
) -> Inputs:
    """Return the inputs with the positions that vLLM computes from the reference's ids and media.

    Args:
        config: vLLM's ``VllmConfig``.
        inputs: vLLM's own.
        values: of the reference.
        read_media: as for ``give_media``.

    Raises:
        UnsupportedError: vLLM has other media, or in another form.
        PrivateApiChangedError: vLLM has moved a name.
    """
    own = inputs.prepared
    places, items = own.get("mm_placeholders") or {}, own.get("mm_kwargs") or {}
    if inputs.spans != values.spans:
        if any(len(span.runs) > 1 for span in values.spans):
            raise UnsupportedError(
                "spans do not show the text between frames that vLLM counts as the video's"
            )
        places = _build_places(values.spans)
    if {key: len(ranges) for key, ranges in places.items()} != {key: len(own) for key, own in items.items()}:
        raise UnsupportedError("vLLM has other media than the reference")
    prompt = {
        **own,
        "prompt_token_ids": list(values.input_ids),
        "mm_placeholders": places,
        "mm_kwargs": _replace_tensors(items, values.media),
    }
    return replace(
        inputs,
        prepared=prompt,
        decoy=None,
        input_ids=values.input_ids,
        spans=values.spans,
        positions=compute_positions(config, prompt),
        media=read_media(prompt),
    )


@contextmanager
def _give(llm: Any, arguments: tuple[Any, ...]) -> Iterator[None]:
    llm.collective_rpc("parity_give", args=arguments)
    try:
        yield
    finally:
        llm.collective_rpc("parity_take_back")


def _get_positions(values: ReferenceValues) -> tuple[np.ndarray, int] | None:
    """Return what ``GivenValues`` takes."""
    if len(values.positions) != _MROPE_AXES:
        return None
    decoded = values.decode_positions
    first = values.positions[0, -1] + 1 if decoded is None or not decoded.size else decoded[0, 0]
    return values.positions, int(first)


def _build_places(spans: tuple[Span, ...]) -> dict[str, list[Any]]:
    """Return vLLM's ``PlaceholderRange`` of each medium, by modality."""
    import torch
    from vllm.multimodal.inputs import PlaceholderRange

    places: dict[str, list[Any]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: span.item):
        mask = torch.zeros(span.length, dtype=torch.bool)
        mask[[position - span.offset for position in span.positions]] = True
        places[span.modality].append(PlaceholderRange(span.offset, span.length, None if mask.all() else mask))
    return dict(places)


def _build_hashes(places: Mapping[str, list[Any]]) -> dict[str, list[str]]:
    """Return new hashes of the media, by modality."""
    name = uuid4().hex
    return {
        modality: [f"parity-{name}-{modality}-{item}" for item in range(len(ranges))]
        for modality, ranges in places.items()
    }


def _build_empty_items(places: Mapping[str, list[Any]]) -> Any:
    from vllm.multimodal.inputs import MultiModalKwargsItem, MultiModalKwargsItems

    return MultiModalKwargsItems(
        {modality: [MultiModalKwargsItem({}) for _ in ranges] for modality, ranges in places.items()}
    )


def _replace_tensors(items: Any, media: tuple[CapturedMedium, ...]) -> Any:
    """Return a copy of vLLM's tower inputs with the values of the reference.

    What has no counterpart stays vLLM's own; the caller reads everything back.

    Raises:
        UnsupportedError: a tensor cannot have the values of the reference.
    """
    given: dict[tuple[Modality, int], CapturedMedium] = {(each.modality, each.item): each for each in media}
    replaced = deepcopy(items)
    for modality, own in replaced.items():
        for index, item in enumerate(own):
            medium = given.get((modality, index))
            if medium is None:
                raise UnsupportedError(f"the reference has no {modality} {index}")
            for name, element in item.items():
                element.data = _replace_tensor(name, element.data, medium)
    return replaced


def _replace_tensor(name: str, own: Any, medium: CapturedMedium) -> Any:
    import torch

    field = next((field for end, field in _FIELDS.items() if name.endswith(end)), None)
    if field is not None and field in medium.fields:
        return torch.tensor(medium.fields[field], dtype=own.dtype).reshape(own.shape)
    array = medium.arrays.get(PIXELS if name.startswith(PIXELS) else name)
    if array is None or not isinstance(own, torch.Tensor):
        return own
    rows = array if array.ndim == own.ndim else array.reshape(-1, *own.shape[1:])
    return torch.from_numpy(rows.copy())
