"""Faults in the language model, the KV cache, the logits and the sampler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vlm_parity.schema.engine_setup import BATCHED, CHUNKED_PREFILL, PREFIX_CACHED
from vlm_parity.schema.trace import Stage
from vlm_parity.selfcheck import lmdeploy_model
from vlm_parity.selfcheck.fault import Fault, FaultInjector
from vlm_parity.selfcheck.vllm_model import (
    change_rope_theta,
    group_heads_by_remainder,
    keep_stale_blocks,
    leave_media_out_of_block_keys,
    multiply_parameter,
    patch_attention,
    patch_modules,
    replace_attribute,
    return_second_best,
    roll_late_chunks,
    scale_batched_logits,
    shift_cache_slots,
    wrap_method,
)

_QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
_OTHER_THETA = ("internvl", "llava_onevision", "qwen2_5_omni")
"""Further families whose rope theta is not the default."""
_OTHERS = (*_OTHER_THETA, "glm4v", "llava")
_ENGINE_MODE = "differs by engine mode"
_TOKENS = (1234, 4321)  # ordinary words, which no continuation contains
_LANGUAGE_MODEL = "language model differs with equal features"


def _change_logits(change: Callable[[Any], Any]) -> FaultInjector:
    return wrap_method("compute_logits", lambda head: lambda *args, **kwargs: change(head(*args, **kwargs)))


def _spoil_tokens(logits: Any) -> Any:
    spoiled = logits.clone()
    spoiled[..., list(_TOKENS)] += 0.25
    return spoiled


def _mask_token(logits: Any) -> Any:
    masked = logits.clone()
    masked[..., _TOKENS[0]] = float("-inf")
    return masked


FAULTS: tuple[Fault, ...] = (
    Fault(
        "attention scale off by 5 %",
        Stage.PREFILL,
        _LANGUAGE_MODEL,
        {
            "vllm": patch_attention(multiply_parameter("scale", 1.05)),
            "lmdeploy": lmdeploy_model.patch_implementations(
                "v_head_size", multiply_parameter("scale", 1.05), lmdeploy_model.get_language_model
            ),
        },
        _QWEN,
        ("one_image",),
        models_behind=_OTHERS,
    ),
    Fault(
        "query heads assigned to the wrong key heads",
        Stage.PREFILL,
        _LANGUAGE_MODEL,
        {
            "vllm": group_heads_by_remainder(),
            "lmdeploy": lmdeploy_model.group_heads_by_remainder(),
        },
        _QWEN,
        ("one_image",),
    ),
    Fault(
        "rope theta left at its default",
        Stage.PREFILL,
        _LANGUAGE_MODEL,
        {
            "vllm": change_rope_theta(10_000.0),
            "lmdeploy": lmdeploy_model.change_rope_theta(10_000.0),
        },
        _QWEN,
        ("one_image",),
        models_behind=_OTHER_THETA,
    ),
    Fault(
        "norm epsilon 1e-5 instead of 1e-6",
        Stage.PREFILL,
        _LANGUAGE_MODEL,
        {
            "vllm": patch_modules(
                "variance_epsilon", replace_attribute("variance_epsilon", 1e-5), below="language_model"
            )
        },
        ("qwen3_vl",),
        ("text_only",),
    ),
    Fault(
        "attention scores softcapped",
        Stage.PREFILL,
        _LANGUAGE_MODEL,
        {"vllm": patch_attention(replace_attribute("logits_soft_cap", 2.0))},
        ("qwen2_5_vl",),
        ("one_image",),
        models_behind=("qwen2_vl", "qwen3_vl", *_OTHERS),
    ),
    Fault(
        "temperature 0.7 applied to the logits",
        Stage.PREFILL,
        "logits scaled",
        {
            "vllm": _change_logits(lambda logits: logits / 0.7),
            "lmdeploy": lmdeploy_model.change_logits(lambda logits: logits / 0.7),
        },
        _QWEN,
        ("one_image",),
        models_behind=_OTHERS,
    ),
    Fault(
        "two rows of the head are wrong",
        Stage.PREFILL,
        "logits of single tokens differ",
        {
            "vllm": _change_logits(_spoil_tokens),
            "lmdeploy": lmdeploy_model.change_logits(_spoil_tokens),
        },
        _QWEN,
        ("one_image",),
        models_behind=_OTHERS,
    ),
    Fault(
        "a token is masked in the logits",
        Stage.PREFILL,
        "tokens masked in the logits",
        {
            "vllm": _change_logits(_mask_token),
            "lmdeploy": lmdeploy_model.change_logits(_mask_token),
        },
        _QWEN,
        ("one_image",),
        models_behind=_OTHERS,
    ),
    Fault(
        "logits softcapped",
        Stage.PREFILL,
        "logit softcapping differs",
        {"vllm": _change_logits(lambda logits: 3.0 * (logits / 3.0).tanh())},
        ("qwen2_5_vl",),
        ("one_image",),
        models_behind=("qwen2_vl", "qwen3_vl", *_OTHERS),
    ),
    Fault(
        "logits computed in bfloat16",
        Stage.PREFILL,
        "logits in lower-precision dtype",
        {"vllm": _change_logits(lambda logits: logits.bfloat16().float())},
        ("qwen2_5_vl",),
        ("one_image",),
        models_behind=("qwen2_vl", "qwen3_vl", *_OTHERS),
    ),
    Fault(
        "attention scale off in batches",
        Stage.PREFILL,
        _ENGINE_MODE,
        {"vllm": scale_batched_logits(1.05)},
        ("qwen2_5_vl",),
        ("one_image",),
        BATCHED,
    ),
    Fault(
        "embeddings one row late after the first chunk",
        Stage.PREFILL,
        _ENGINE_MODE,
        {"vllm": roll_late_chunks},
        ("qwen2_5_vl",),
        ("one_image",),
        CHUNKED_PREFILL,
    ),
    Fault(
        "prefix cache returns the wrong block",
        Stage.PREFILL,
        _ENGINE_MODE,
        {"vllm": keep_stale_blocks},
        ("qwen2_5_vl",),
        ("one_image",),
        PREFIX_CACHED,
    ),
    Fault(
        "prefix cache keyed without the media",
        Stage.PREFILL,
        _ENGINE_MODE,
        {"vllm": leave_media_out_of_block_keys},
        ("qwen2_5_vl",),
        ("one_image",),
        PREFIX_CACHED,
    ),
    Fault(
        "new keys and values written one slot off",
        Stage.DECODE,
        "decode differs with equal prefill",
        {"vllm": shift_cache_slots(1), "lmdeploy": lmdeploy_model.shift_cache_slots},
        _QWEN,
        ("one_image",),
        models_behind=_OTHERS,
    ),
    Fault(
        "greedy sampler picks the second-best token",
        Stage.GREEDY,
        "greedy token behind in the engine's own logits",
        {"vllm": return_second_best, "lmdeploy": lmdeploy_model.return_second_best},
        ("qwen2_5_vl",),
        ("one_image",),
        models_behind=("qwen2_vl", "qwen3_vl", *_OTHERS),
    ),
)
