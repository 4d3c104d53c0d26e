"""Faults in the language model, its cache, its head and its sampler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vlm_parity.backends.common.modes import BATCHED, CHUNKED_PREFILL, PREFIX_CACHED
from vlm_parity.schema.trace import Stage
from vlm_parity.selfcheck import lmdeploy_model
from vlm_parity.selfcheck.fault import Fault, Planter
from vlm_parity.selfcheck.vllm_model import (
    cache_slots_at_decode,
    in_modules,
    late_chunks_rolled,
    multiplied,
    on_attention,
    other_theta,
    replaced,
    scale_in_a_batch,
    second_best,
    stale_blocks,
    wrapped,
)

_QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
_SCHEDULING = "differs by engine mode"
_LANGUAGE_MODEL = "language model differs with equal features"


def _logits(change: Callable[[Any], Any]) -> Planter:
    return wrapped("compute_logits", lambda head: lambda *args, **named: change(head(*args, **named)))


FAULTS: tuple[Fault, ...] = (
    Fault(
        "attention scale off by 5 %",
        Stage.PREFILL,
        _LANGUAGE_MODEL,
        {
            "vllm": on_attention(multiplied("scale", 1.05)),
            "lmdeploy": lmdeploy_model.in_implementations(
                "v_head_size", multiplied("scale", 1.05), lmdeploy_model.language_model_of
            ),
        },
        _QWEN,
        ("one_image",),
    ),
    Fault(
        "rope theta left at its default",
        Stage.PREFILL,
        _LANGUAGE_MODEL,
        {"vllm": other_theta(10_000.0), "lmdeploy": lmdeploy_model.other_theta(10_000.0, 1_000_000.0)},
        _QWEN,
        ("one_image",),
    ),
    Fault(
        "norm epsilon 1e-5 in place of 1e-6",
        Stage.PREFILL,
        _LANGUAGE_MODEL,
        {"vllm": in_modules("variance_epsilon", replaced("variance_epsilon", 1e-5), below="language_model")},
        ("qwen3_vl",),
        ("text_only",),
    ),
    Fault(
        "attention scores capped where the model has no cap",
        Stage.PREFILL,
        _LANGUAGE_MODEL,
        {"vllm": on_attention(replaced("logits_soft_cap", 2.0))},
        ("qwen2_5_vl",),
        ("one_image",),
    ),
    Fault(
        "temperature 0.7 applied to the logits",
        Stage.PREFILL,
        "logits scaled",
        {
            "vllm": _logits(lambda logits: logits / 0.7),
            "lmdeploy": lmdeploy_model.on_logits(lambda logits: logits / 0.7),
        },
        _QWEN,
        ("one_image",),
    ),
    Fault(
        "logits capped where the model has no cap",
        Stage.PREFILL,
        "logit softcapping differs",
        {"vllm": _logits(lambda logits: 3.0 * (logits / 3.0).tanh())},
        ("qwen2_5_vl",),
        ("one_image",),
    ),
    Fault(
        "logits computed in bfloat16",
        Stage.PREFILL,
        "logits in lower-precision dtype",
        {"vllm": _logits(lambda logits: logits.bfloat16().float())},
        ("qwen2_5_vl",),
        ("one_image",),
    ),
    Fault(
        "attention scale off where the batch holds several requests",
        Stage.PREFILL,
        _SCHEDULING,
        {"vllm": scale_in_a_batch(1.05)},
        ("qwen2_5_vl",),
        ("one_image",),
        BATCHED,
    ),
    Fault(
        "embeddings one row late from the second chunk on",
        Stage.PREFILL,
        _SCHEDULING,
        {"vllm": late_chunks_rolled},
        ("qwen2_5_vl",),
        ("one_image",),
        CHUNKED_PREFILL,
    ),
    Fault(
        "prefix cache hands out the wrong block",
        Stage.PREFILL,
        _SCHEDULING,
        {"vllm": stale_blocks},
        ("qwen2_5_vl",),
        ("one_image",),
        PREFIX_CACHED,
    ),
    Fault(
        "new keys and values one slot off",
        Stage.DECODE,
        "decode differs with equal prefill",
        {"vllm": cache_slots_at_decode(1), "lmdeploy": lmdeploy_model.cache_slots_at_decode},
        _QWEN,
        ("one_image",),
    ),
    Fault(
        "the second most likely token is taken",
        Stage.GREEDY,
        "greedy tokens differ with equal logits",
        {"vllm": second_best},
        ("qwen2_5_vl",),
        ("one_image",),
    ),
)
