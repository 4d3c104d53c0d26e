"""Faults in the vision tower, or between it and the sequence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from vlm_parity.schema.trace import Stage
from vlm_parity.selfcheck.fault import Fault
from vlm_parity.selfcheck.lmdeploy_model import change_features
from vlm_parity.selfcheck.vllm_model import (
    get_engine_model,
    make_tower_causal,
    patch_modules,
    replace_attribute,
    wrap_method,
)

_QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
_TOWER = "vision tower differs with equal pixels"


def _tower_injectors(change: Callable[[Any], Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Changes each medium's features, [embedded positions, hidden]."""

    def wrap(embed: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **named: [change(features) for features in embed(*args, **named)]

    return wrap


@contextmanager
def _use_gelu(backend: Any) -> Iterator[None]:
    """What LMDeploy 0.18 does."""
    import torch

    with patch_modules("act", replace_attribute("act", torch.nn.GELU()), below="visual")(backend):
        yield


@contextmanager
def _change_activation(backend: Any) -> Iterator[None]:
    """The exact GELU for its approximation by tanh."""
    import torch

    with patch_modules("linear_fc1", _set_gelu_exactness(torch.nn.GELU()), below="visual")(backend):
        yield


def _set_gelu_exactness(exact: Any) -> Callable[[ExitStack, Any], None]:
    return replace_attribute("act_fn", exact)


@contextmanager
def _disable_windows(backend: Any) -> Iterator[None]:
    """Every block of the tower attends to all of the picture."""
    visual = get_engine_model(backend).visual
    with patch.object(visual, "fullatt_block_indexes", list(range(len(visual.blocks)))):
        yield


FAULTS: tuple[Fault, ...] = (
    Fault(
        "GELU in the vision tower in place of quick GELU",
        Stage.VISION,
        _TOWER,
        {"vllm": _use_gelu},
        ("qwen2_vl",),
        ("one_image",),
    ),
    Fault(
        "exact GELU in the vision tower in place of its approximation",
        Stage.VISION,
        _TOWER,
        {"vllm": _change_activation},
        ("qwen3_vl",),
        ("one_image",),
    ),
    Fault(
        "vision attention is causal",
        Stage.VISION,
        _TOWER,
        {"vllm": make_tower_causal},
        _QWEN,
        ("one_image",),
    ),
    Fault(
        "vision attention without windows",
        Stage.VISION,
        _TOWER,
        {"vllm": _disable_windows},
        ("qwen2_5_vl",),
        ("large_image",),
    ),
    Fault(
        "vision features scaled by 1.05",
        Stage.VISION,
        "vision features scaled",
        {
            "vllm": wrap_method("embed_multimodal", _tower_injectors(lambda features: features * 1.05)),
            "lmdeploy": change_features(lambda features: features * 1.05),
        },
        _QWEN,
        ("one_image",),
    ),
    Fault(
        "vision features one position late",
        Stage.VISION,
        "vision features reordered",
        {
            "vllm": wrap_method("embed_multimodal", _tower_injectors(lambda features: features.roll(1, 0))),
            "lmdeploy": change_features(lambda features: features.roll(1, 0)),
        },
        _QWEN,
        ("two_images",),
    ),
)
