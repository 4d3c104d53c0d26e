"""Faults in the vision tower, or between it and the sequence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from vlm_parity.schema.trace import Stage
from vlm_parity.selfcheck.fault import Fault
from vlm_parity.selfcheck.lmdeploy_model import on_features
from vlm_parity.selfcheck.vllm_model import causal_tower, in_modules, model_of, replaced, wrapped

_QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
_TOWER = "vision tower differs with equal pixels"


def _changed(change: Callable[[Any], Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Changes each medium's features, [embedded positions, hidden]."""

    def wrap(embed: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **named: [change(features) for features in embed(*args, **named)]

    return wrap


@contextmanager
def _gelu_for_quick_gelu(backend: Any) -> Iterator[None]:
    """What LMDeploy 0.18 does."""
    import torch

    with in_modules("act", replaced("act", torch.nn.GELU()), below="visual")(backend):
        yield


@contextmanager
def _other_activation(backend: Any) -> Iterator[None]:
    """The exact GELU for its approximation by tanh."""
    import torch

    with in_modules("linear_fc1", _exact_gelu(torch.nn.GELU()), below="visual")(backend):
        yield


def _exact_gelu(exact: Any) -> Callable[[ExitStack, Any], None]:
    return replaced("act_fn", exact)


@contextmanager
def _no_windows(backend: Any) -> Iterator[None]:
    """Every block of the tower attends to all of the picture."""
    visual = model_of(backend).visual
    with patch.object(visual, "fullatt_block_indexes", list(range(len(visual.blocks)))):
        yield


FAULTS: tuple[Fault, ...] = (
    Fault(
        "GELU in the vision tower in place of quick GELU",
        Stage.VISION,
        _TOWER,
        {"vllm": _gelu_for_quick_gelu},
        ("qwen2_vl",),
        ("one_image",),
    ),
    Fault(
        "exact GELU in the vision tower in place of its approximation",
        Stage.VISION,
        _TOWER,
        {"vllm": _other_activation},
        ("qwen3_vl",),
        ("one_image",),
    ),
    Fault(
        "vision attention is causal",
        Stage.VISION,
        _TOWER,
        {"vllm": causal_tower},
        _QWEN,
        ("one_image",),
    ),
    Fault(
        "vision attention without windows",
        Stage.VISION,
        _TOWER,
        {"vllm": _no_windows},
        ("qwen2_5_vl",),
        ("large_image",),
    ),
    Fault(
        "vision features scaled by 1.05",
        Stage.VISION,
        "vision features scaled",
        {
            "vllm": wrapped("embed_multimodal", _changed(lambda features: features * 1.05)),
            "lmdeploy": on_features(lambda features: features * 1.05),
        },
        _QWEN,
        ("one_image",),
    ),
    Fault(
        "vision features one position late",
        Stage.VISION,
        "vision features reordered",
        {
            "vllm": wrapped("embed_multimodal", _changed(lambda features: features.roll(1, 0))),
            "lmdeploy": on_features(lambda features: features.roll(1, 0)),
        },
        _QWEN,
        ("two_images",),
    ),
)
