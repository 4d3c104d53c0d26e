"""Differential parity tests of vision-language serving engines against transformers.

The names below are the public interface, which a backend of your own needs. They are imported on first
use, so importing the package costs nothing::

    from vlm_parity import Backend, Checkpoint, Inputs, Outputs, Request
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlm_parity.backends.base import (
        Backend,
        CapturedMedium,
        Inputs,
        Outputs,
        ReferenceBackend,
        ReferenceValues,
        Request,
        Settings,
        TopLogprobs,
    )
    from vlm_parity.backends.transformers.backend import TransformersBackend
    from vlm_parity.media.load import DecodedAudio, DecodedVideo, EncodedMedium, Media
    from vlm_parity.models.checkpoint import Checkpoint
    from vlm_parity.schema.case import Case, Modality
    from vlm_parity.schema.condition import Condition
    from vlm_parity.schema.engine_setup import Depth, EntryPoint
    from vlm_parity.schema.trace import EncoderBudget, FrameSampling, Span, Stage, Trace
    from vlm_parity.schema.verdict import Verdict, VerdictKind
    from vlm_parity.util.errors import (
        EngineCrashedError,
        EngineError,
        ModeNotApplicableError,
        ParityError,
        PrivateApiChangedError,
        UnsupportedError,
    )

try:
    __version__ = version("vlm-parity")
except PackageNotFoundError:  # a clone on the path, not installed
    __version__ = "0+unknown"

_MODULES = {
    "vlm_parity.backends.base": (
        "Backend",
        "CapturedMedium",
        "Inputs",
        "Outputs",
        "ReferenceBackend",
        "ReferenceValues",
        "Request",
        "Settings",
        "TopLogprobs",
    ),
    "vlm_parity.backends.transformers.backend": ("TransformersBackend",),
    "vlm_parity.media.load": ("DecodedAudio", "DecodedVideo", "EncodedMedium", "Media"),
    "vlm_parity.models.checkpoint": ("Checkpoint",),
    "vlm_parity.schema.case": ("Case", "Modality"),
    "vlm_parity.schema.condition": ("Condition",),
    "vlm_parity.schema.engine_setup": ("Depth", "EntryPoint"),
    "vlm_parity.schema.trace": ("EncoderBudget", "FrameSampling", "Span", "Stage", "Trace"),
    "vlm_parity.schema.verdict": ("Verdict", "VerdictKind"),
    "vlm_parity.util.errors": (
        "EngineCrashedError",
        "EngineError",
        "ModeNotApplicableError",
        "ParityError",
        "PrivateApiChangedError",
        "UnsupportedError",
    ),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Backend",
    "CapturedMedium",
    "Case",
    "Checkpoint",
    "Condition",
    "DecodedAudio",
    "DecodedVideo",
    "Depth",
    "EncodedMedium",
    "EncoderBudget",
    "EngineCrashedError",
    "EngineError",
    "EntryPoint",
    "FrameSampling",
    "Inputs",
    "Media",
    "Modality",
    "ModeNotApplicableError",
    "Outputs",
    "ParityError",
    "PrivateApiChangedError",
    "ReferenceBackend",
    "ReferenceValues",
    "Request",
    "Settings",
    "Span",
    "Stage",
    "TopLogprobs",
    "Trace",
    "TransformersBackend",
    "UnsupportedError",
    "Verdict",
    "VerdictKind",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
