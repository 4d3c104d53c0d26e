"""Explanations of a case: the arguments that each side is passed, without an engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from vlm_parity.backends.base import Request
from vlm_parity.backends.common.processor_kwargs import build_processor_kwargs
from vlm_parity.backends.registry import REFERENCE_BACKEND, list_backend_targets, load_backend_class
from vlm_parity.media.load import EncodedMedium, Media, load_media
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case
from vlm_parity.schema.engine_setup import EntryPoint
from vlm_parity.util.errors import UnsupportedError

_LONG = 500
"""Characters of a text that are shown."""
_NO_FAMILY = "any"
Explanation = Mapping[str, Any] | str
"""Arguments that a side is passed, or the reason why it is not asked."""


def explain_case(case: Case, model: str | None) -> Iterator[tuple[str, Explanation]]:
    """Yield each side with what it is passed: the reference, then each backend's chat path and its server.

    Args:
        case: the conversation.
        model: the family whose processor kwargs are added; None for those of the case alone.

    Raises:
        CaseError, MediaError: a medium cannot be loaded.
        ModuleNotFoundError: the family needs transformers to say what its processor is passed.
    """
    request = Request(case, load_media(case))
    checkpoint = Checkpoint(model or _NO_FAMILY, model or _NO_FAMILY, Path(), "", "")
    kwargs = build_processor_kwargs(checkpoint, request)
    yield "media", {str(number): describe_value(medium) for number, medium in enumerate(request.media)}
    for name in (REFERENCE_BACKEND, *sorted(set(list_backend_targets()) - {REFERENCE_BACKEND})):
        for entry_point in (EntryPoint.CHAT, EntryPoint.SERVER):
            label = name if entry_point is EntryPoint.CHAT else f"{name}, server"
            try:
                backend = load_backend_class(name, entry_point)
                call = backend.build_call(request, kwargs)
            except (UnsupportedError, ValueError) as error:
                if not (name == REFERENCE_BACKEND and entry_point is EntryPoint.SERVER):
                    yield label, f"unsupported: {error}"
                continue
            yield label, describe_value(call)


def describe_value(value: Any) -> Any:
    """Return a value as plain data for reading: media by their size, long texts cut off."""
    if isinstance(value, PIL.Image.Image):
        return f"<image, {value.mode}, {value.width} x {value.height}>"
    if isinstance(value, EncodedMedium):
        return f"<file, {value.mime}, {len(value.content)} bytes>"
    if isinstance(value, np.ndarray):
        return f"<array, {value.dtype}, {' x '.join(map(str, value.shape))}>"
    if isinstance(value, str):
        return _describe_text(value)
    if isinstance(value, Mapping):
        return {str(key): describe_value(each) for key, each in value.items()}
    if isinstance(value, Iterable):
        return [describe_value(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float) else _describe_medium(value)


def _describe_text(text: str) -> str:
    head, separator, data = text.partition(";base64,")
    if head.startswith("data:") and separator:
        return f"<data URL, {head.removeprefix('data:')}, {len(data)} characters>"
    return text if len(text) <= _LONG else f"{text[:_LONG]}... ({len(text)} characters)"


def _describe_medium(medium: Media) -> str:
    """Describe decoded videos and audio by the arrays that they hold."""
    fields = {name: describe_value(value) for name, value in vars(medium).items() if value is not None}
    return f"<{', '.join(f'{name} {value}' for name, value in fields.items())}>"
