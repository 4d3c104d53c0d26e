"""The redirections under which LMDeploy's PyTorch engine runs on the CPU: one table, a reason each.

They move data and choose devices; no model file is touched, so what a model computes stays
LMDeploy's own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import wraps
from typing import Any

from vlm_parity.backends.lmdeploy.cpu.internals import PrivateApi
from vlm_parity.schema.trace import Depth


@dataclass(frozen=True)
class Redirection:
    """One name that stands for something else while the engine runs on the CPU."""

    target: PrivateApi
    why: str
    replace: Callable[[Any], Any]
    """From what the name stood for to what it stands for."""
    depth: Depth = Depth.LOGITS
    """The lowest depth that needs it."""


def _selector(original: Callable[[], Any]) -> Callable[[], Any]:
    from lmdeploy.pytorch.devices import get_device_manager

    from vlm_parity.backends.lmdeploy.cpu.ops import CpuOpsBackend

    @wraps(original)
    def select() -> Any:
        on_cpu = get_device_manager().current_context().device_type == "cpu"
        return CpuOpsBackend if on_cpu else original()

    return select


def _agent_init(original: Callable[..., None]) -> Callable[..., None]:
    @wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.device = "cpu"

    return init


def _stay_on_cpu(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def move(val: Any, non_blocking: bool = False) -> Any:
        return val.to_device("cpu", non_blocking=non_blocking) if hasattr(val, "to_device") else val

    return move


def _allocate_on_cpu(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def allocate(*args: Any, device: Any, **kwargs: Any) -> Any:
        return original(*args, device="cpu" if device == "cuda" else device, **kwargs)

    return allocate


def _feature_dtype(original: Callable[..., Any]) -> Callable[..., Any]:
    import torch

    @wraps(original)
    def resolve(hf_config: Any, backend_config: Any) -> Any:
        asked = backend_config.dtype
        return original(hf_config, backend_config) if asked == "auto" else getattr(torch, asked)

    return resolve


def _return_constant(value: Any) -> Callable[[Any], Any]:
    return lambda _original: value


def _cuda_redirection(name: str, why: str, replace: Callable[[Any], Any]) -> Redirection:
    return Redirection(PrivateApi("torch.cuda", name), why, replace)


_ENGINE_REDIRECTIONS = "lmdeploy.pytorch.engine"
_NO_STREAMS_REASON = (
    "the engine orders its work by CUDA streams and events; on a CPU all work is done in order"
)


def _redirections() -> tuple[Redirection, ...]:
    import psutil
    import torch

    class Stream(torch.cpu.Stream):  # type: ignore[misc]
        """PyTorch's own stand-in, with the one method that it lacks."""

        def query(self) -> bool:
            return True

    current = Stream()

    def memory(_device: Any = None) -> tuple[int, int]:
        found = psutil.virtual_memory()  # what files are cached in counts as free
        return found.available, found.total

    return (
        Redirection(
            PrivateApi("lmdeploy.pytorch.backends.selector", "_get_backend"),
            "there is no operator backend for a CPU: LMDeploy's default operators are taken, with attention "
            "in plain PyTorch",
            _selector,
        ),
        Redirection(
            PrivateApi(
                f"{_ENGINE_REDIRECTIONS}.model_agent.agent", "BaseModelAgent.__init__", ("self", "model_path")
            ),
            "the device of the model is hard-coded to cuda",
            _agent_init,
        ),
        Redirection(
            PrivateApi(f"{_ENGINE_REDIRECTIONS}.model_agent.agent", "_try_to_cuda", ("val", "non_blocking")),
            "the inputs of a step are sent to cuda by name",
            _stay_on_cpu,
        ),
        Redirection(
            PrivateApi(
                f"{_ENGINE_REDIRECTIONS}.cache_engine.plan",
                "BlockCachePlan.allocate",
                ("num_logical_blocks", "device"),
            ),
            "the key/value cache is allocated on cuda by name",
            _allocate_on_cpu,
        ),
        Redirection(
            PrivateApi(
                f"{_ENGINE_REDIRECTIONS}.cache_engine.state",
                "_allocate_state_caches",
                ("num_caches", "device"),
            ),
            "the caches of state-space layers are allocated on cuda by name",
            _allocate_on_cpu,
        ),
        Redirection(
            PrivateApi("lmdeploy.vl.engine", "_resolve_mm_feature_dtype", ("hf_config", "backend_config")),
            "the dtype of pixel values knows no float32, and asks a GPU whether it has bfloat16",
            _feature_dtype,
            Depth.TOKENS,
        ),
        Redirection(
            PrivateApi("lmdeploy.pytorch.configurations.qwen3_5", "is_bf16_supported", ("device_type",)),
            "whether bfloat16 works is asked of a GPU; a CPU has it",
            _return_constant(lambda device_type="cuda": True),
        ),
        Redirection(
            PrivateApi("lmdeploy.pytorch.envs", "enable_check_env"),
            "the check of the environment computes on cuda",
            _return_constant(False),
        ),
        Redirection(
            PrivateApi("lmdeploy.pytorch.envs", "skip_warmup"),
            "the warm-up computes on cuda",
            _return_constant(True),
        ),
        _cuda_redirection("Stream", _NO_STREAMS_REASON, _return_constant(Stream)),
        _cuda_redirection("Event", _NO_STREAMS_REASON, _return_constant(torch.cpu.Event)),
        _cuda_redirection("stream", _NO_STREAMS_REASON, _return_constant(contextlib.nullcontext)),
        _cuda_redirection(
            "current_stream", _NO_STREAMS_REASON, _return_constant(lambda device=None: current)
        ),
        _cuda_redirection("synchronize", _NO_STREAMS_REASON, _return_constant(torch.cpu.synchronize)),
        _cuda_redirection(
            "current_device", "the engine asks for the number of its GPU", _return_constant(lambda: 0)
        ),
        _cuda_redirection(
            "mem_get_info", "the engine asks how much memory its GPU has", _return_constant(memory)
        ),
    )


_PRIVATE_APIS = (
    PrivateApi(
        "lmdeploy.pytorch.backends.attention",
        "PagedAttentionBuildSpec",
        (
            *("num_heads", "head_dim", "scale", "num_kv_heads", "v_head_dim", "alibi", "sliding_window"),
            *("logit_softcapping", "causal", "use_flash_mla", "mla_index_topk", "block_sparse_size"),
        ),
    ),
    PrivateApi(
        "lmdeploy.pytorch.backends.attention",
        "AttentionImpl.forward",
        ("query", "key", "value", "k_cache", "v_cache", "attn_metadata", "learnable_sink", "nsa_indices"),
    ),
    PrivateApi(
        "lmdeploy.pytorch.backends.attention",
        "AttentionMetadata",
        ("block_offsets", "q_seqlens", "kv_seqlens", "cu_seqlens_q", "cu_seqlens_k", "quant_policy"),
    ),
    PrivateApi(
        "lmdeploy.pytorch.backends.flash_attention",
        "FlashAttentionBuildSpec",
        ("head_dim", "scale", "v_head_dim", "causal", "sliding_window", "logit_softcapping"),
    ),
    PrivateApi(
        "lmdeploy.pytorch.backends.flash_attention",
        "FlashAttentionImpl.forward",
        ("q_start_loc", "q_seqlens", "kv_start_loc", "kv_seqlens", "max_q_seqlen"),
    ),
    PrivateApi(
        "lmdeploy.pytorch.backends.default.op_backend",
        "DefaultOpsBackend.build_op",
        ("spec", "enable_deterministic"),
    ),
    PrivateApi(
        "lmdeploy.pytorch.backends.default.op_backend",
        "DefaultOpsBackend.update_step_context",
        ("step_context",),
    ),
    PrivateApi("lmdeploy.pytorch.devices", "get_device_manager"),
    PrivateApi("lmdeploy.messages", "QuantPolicy.NONE"),
)
"""What ``ops`` subclasses and calls."""


def apply_redirections(rows: Sequence[Redirection], until: ExitStack) -> list[str]:
    """Puts these in place until the stack is closed; returns and raises as ``redirect_to_cpu``."""
    found = [(row, *row.target.find()) for row in rows]
    for row, holder, name, original in found:
        setattr(holder, name, row.replace(original))
        until.callback(setattr, holder, name, original)
    return [f"{', '.join(names)}: {why}" for why, names in _group_by_reason(rows).items()]


def redirect_to_cpu(until: ExitStack, depth: Depth) -> list[str]:
    """Puts the redirections in place until the stack is closed.

    Args:
        until: where the way back is registered.
        depth: ``tokens`` for the front end alone, ``logits`` for the whole engine.

    Returns:
        What was redirected and why, a sentence a line.

    Raises:
        PrivateApiChangedError: a name is gone or has changed; nothing is left redirected then.
    """
    import torch

    for internal in _PRIVATE_APIS if depth is Depth.LOGITS else ():
        internal.find()
    notes = apply_redirections(
        [row for row in _redirections() if depth is Depth.LOGITS or row.depth is depth], until
    )
    if depth is Depth.LOGITS:
        until.enter_context(torch.compiler.set_stance("force_eager"))
        notes.append("torch.compile: off; compiling takes minutes on a CPU and computes the same")
    return notes


def _group_by_reason(rows: Sequence[Redirection]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for row in rows:
        reasons.setdefault(row.why, []).append(str(row.target))
    return reasons
