"""Faults in the vision tower or between the tower and the language model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from vlm_parity.schema.trace import Stage
from vlm_parity.selfcheck import lmdeploy_frontend as lmdeploy_inputs
from vlm_parity.selfcheck import vllm_frontend as vllm_inputs
from vlm_parity.selfcheck.fault import Fault, combine_injectors
from vlm_parity.selfcheck.lmdeploy_model import change_features, drop_deep_features
from vlm_parity.selfcheck.vllm_model import (
    get_engine_model,
    make_vision_attention_causal,
    patch_modules,
    replace_attribute,
    wrap_method,
)

_QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
_OTHERS = ("glm4v", "internvl", "llava_onevision", "qwen2_5_omni")
_TOWER = "vision tower differs with equal pixels"


def _change_each_feature(change: Callable[[Any], Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Change the features of each medium, [embedded positions, hidden]."""

    def wrap(embed: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: [change(features) for features in embed(*args, **kwargs)]

    return wrap


@contextmanager
def _use_gelu(backend: Any) -> Iterator[None]:
    """Use the exact GELU instead of quick GELU, as LMDeploy 0.18 does."""
    import torch

    with patch_modules("act", replace_attribute("act", torch.nn.GELU()), below="visual")(backend):
        yield


@contextmanager
def _use_exact_gelu(backend: Any) -> Iterator[None]:
    """Use the exact GELU instead of its approximation by tanh."""
    import torch

    with patch_modules("linear_fc1", replace_attribute("act_fn", torch.nn.GELU()), below="visual")(backend):
        yield


@contextmanager
def _disable_windows(backend: Any) -> Iterator[None]:
    """Let every block of the tower attend to the whole image."""
    visual = get_engine_model(backend).visual
    with patch.object(visual, "fullatt_block_indexes", list(range(len(visual.blocks)))):
        yield


def _scale_first_medium(embed: Callable[..., Any]) -> Callable[..., Any]:
    def scaled(*args: Any, **kwargs: Any) -> list[Any]:
        first, *others = embed(*args, **kwargs)
        return [first * 1.05, *others]

    return scaled


def _scale_first_half(features: Any) -> Any:
    """Scale the features of the first of two images of equal sizes."""
    scaled = features.clone()
    scaled[: len(features) // 2] *= 1.05
    return scaled


FAULTS: tuple[Fault, ...] = (
    Fault(
        "one of two images in reverse order is scaled",
        Stage.VISION,
        _TOWER,
        {
            "vllm": combine_injectors(
                vllm_inputs.reverse_media, wrap_method("embed_multimodal", _scale_first_medium)
            ),
            "lmdeploy": combine_injectors(lmdeploy_inputs.reverse_media, change_features(_scale_first_half)),
        },
        _QWEN,
        ("two_images",),
        shows_behind=False,
        behind=Stage.MEDIA,
    ),
    Fault(
        "GELU instead of quick GELU in the vision tower",
        Stage.VISION,
        _TOWER,
        {"vllm": _use_gelu},
        ("qwen2_vl",),
        ("one_image",),
    ),
    Fault(
        "exact GELU instead of tanh GELU in the vision tower",
        Stage.VISION,
        _TOWER,
        {"vllm": _use_exact_gelu},
        ("qwen3_vl",),
        ("one_image",),
    ),
    Fault(
        "vision attention is causal",
        Stage.VISION,
        _TOWER,
        {"vllm": make_vision_attention_causal},
        _QWEN,
        ("one_image",),
        models_behind=_OTHERS,
    ),
    Fault(
        "vision attention without windows",
        Stage.VISION,
        _TOWER,
        {"vllm": _disable_windows},
        ("qwen2_5_vl",),
        ("large_image",),  # others fit into one window
        shows_behind=False,
    ),
    Fault(
        "vision features scaled by 1.05",
        Stage.VISION,
        "vision features scaled",
        {
            "vllm": wrap_method("embed_multimodal", _change_each_feature(lambda features: features * 1.05)),
            "lmdeploy": change_features(lambda features: features * 1.05),
        },
        _QWEN,
        ("one_image",),
        models_behind=_OTHERS,
    ),
    Fault(
        "vision features one position late",
        Stage.VISION,
        "vision features reordered",
        {
            "vllm": wrap_method(
                "embed_multimodal", _change_each_feature(lambda features: features.roll(1, 0))
            ),
            "lmdeploy": change_features(lambda features: features.roll(1, 0)),
        },
        _QWEN,
        ("two_images",),
        models_behind=_OTHERS,
    ),
    Fault(
        "features for deeper layers are dropped",
        Stage.VISION,
        "deep features dropped",
        {
            "vllm": wrap_method(
                "_set_deepstack_input_embeds", lambda keep: lambda features: keep(features * 0)
            ),
            "lmdeploy": drop_deep_features,
        },
        ("qwen3_vl",),
        ("one_image",),
    ),
)
