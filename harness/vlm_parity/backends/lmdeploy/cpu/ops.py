"""An operator backend of LMDeploy that computes on the CPU. Imports LMDeploy: import it lazily.

Everything but the two kinds of attention is LMDeploy's own default implementation.
"""

from __future__ import annotations

from typing import Any

import torch
from lmdeploy.messages import QuantPolicy
from lmdeploy.pytorch.backends.attention import AttentionImpl, AttentionMetadata, PagedAttentionBuildSpec
from lmdeploy.pytorch.backends.default.op_backend import DefaultOpsBackend
from lmdeploy.pytorch.backends.flash_attention import FlashAttentionBuildSpec, FlashAttentionImpl

from vlm_parity.backends.lmdeploy.cpu.attention import compute_attention, read_pages, write_pages


class PagedAttention(AttentionImpl):  # type: ignore[misc]
    """Attention of the language model through the paged cache."""

    def __init__(self, spec: PagedAttentionBuildSpec) -> None:
        """Raises ``NotImplementedError``, by name, for what only the GPU kernels have."""
        _raise_unsupported(
            alibi=spec.alibi,
            use_flash_mla=spec.use_flash_mla,
            mla_index_topk=spec.mla_index_topk is not None,
            block_sparse_size=spec.block_sparse_size != 1,
        )
        super().__init__(
            num_heads=spec.num_heads,
            head_size=spec.head_dim,
            scale=spec.scale,
            num_kv_heads=spec.num_kv_heads,
            v_head_size=spec.v_head_dim,
            sliding_window=spec.sliding_window,
            logit_softcapping=spec.logit_softcapping,
            causal=spec.causal,
        )
        self.window = _sliding_window(spec.sliding_window, spec.causal)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor | None,
        value: torch.Tensor | None,
        k_cache: torch.Tensor,
        v_cache: torch.Tensor,
        attn_metadata: AttentionMetadata,
        k_scales_zeros: torch.Tensor | None = None,
        v_scales_zeros: torch.Tensor | None = None,
        learnable_sink: torch.Tensor | None = None,
        nsa_indices: torch.Tensor | None = None,
        inplace: bool = False,
    ) -> torch.Tensor:
        """Writes the new keys and values into the cache, then attends to all of the sequence.

        Args:
            query: [tokens, heads, head size], the sequences of the batch one after the other.
            key: [tokens, key/value heads, head size]; None where an earlier layer wrote the cache.
            value: likewise.
            k_cache: [blocks, block size, key/value heads, head size].
            v_cache: likewise.
            attn_metadata: lengths and blocks of the sequences.
            k_scales_zeros: of a quantized cache; refused.
            v_scales_zeros: likewise.
            learnable_sink: [heads].
            nsa_indices: of sparse attention; refused.
            inplace: ignored.

        Returns:
            [tokens, heads, value size].
        """
        _raise_unsupported(
            quantized_cache=attn_metadata.quant_policy != QuantPolicy.NONE
            or k_scales_zeros is not None
            or v_scales_zeros is not None,
            nsa_indices=nsa_indices is not None,
        )
        output = query.new_empty(*query.shape[:-1], self.v_head_size)
        start = 0
        lengths = zip(attn_metadata.q_seqlens.tolist(), attn_metadata.kv_seqlens.tolist(), strict=True)
        for blocks, (new, total) in zip(attn_metadata.block_offsets, lengths, strict=True):
            mine = slice(start, start + new)
            if key is not None and value is not None:
                write_pages(k_cache, blocks, total - new, key[mine])
                write_pages(v_cache, blocks, total - new, value[mine])
            output[mine] = compute_attention(
                query[mine],
                read_pages(k_cache, blocks, total),
                read_pages(v_cache, blocks, total),
                scale=self.scale,
                causal=self.causal,
                window=self.window,
                softcap=self.logit_softcapping,
                sinks=learnable_sink,
            )
            start += new
        return output


class FlashAttention(FlashAttentionImpl):  # type: ignore[misc]
    """Attention without a cache; the vision towers use it."""

    def __init__(self, spec: FlashAttentionBuildSpec) -> None:
        self.scale = spec.head_dim**-0.5 if spec.scale is None else spec.scale
        self.value_size = spec.head_dim if spec.v_head_dim is None else spec.v_head_dim
        self.causal = spec.causal
        self.softcap = spec.logit_softcapping or 0.0
        self.window = _sliding_window(spec.sliding_window, spec.causal)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        q_start_loc: torch.Tensor,
        q_seqlens: torch.Tensor,
        kv_start_loc: torch.Tensor,
        kv_seqlens: torch.Tensor,
        max_q_seqlen: int | None = None,
    ) -> torch.Tensor:
        """[tokens, heads, size] each; the four tensors say where each sequence starts and how
        long it is. Returns [tokens, heads, value size].
        """
        output = query.new_empty(*query.shape[:-1], self.value_size)
        places = (q_start_loc, q_seqlens, kv_start_loc, kv_seqlens)
        for q_start, q_length, k_start, k_length in zip(*(p.tolist() for p in places), strict=True):
            asked = slice(q_start, q_start + q_length)
            seen = slice(k_start, k_start + k_length)
            output[asked] = compute_attention(
                query[asked],
                key[seen],
                value[seen],
                scale=self.scale,
                causal=self.causal,
                window=self.window,
                softcap=self.softcap,
            )
        return output


class CpuOpsBackend(DefaultOpsBackend):  # type: ignore[misc]
    """LMDeploy's default operators, and the two kinds of attention that it has for GPUs only."""

    @staticmethod
    def get_name() -> str:
        return "cpu"

    @classmethod
    def build_op(cls, spec: Any, *, enable_deterministic: bool = False) -> Any:
        """The implementation of what a layer asks for.

        Raises:
            RuntimeError: LMDeploy has no default implementation; the message names the spec.
        """
        if isinstance(spec, PagedAttentionBuildSpec):
            return PagedAttention(spec)
        if isinstance(spec, FlashAttentionBuildSpec):
            return FlashAttention(spec)
        return super().build_op(spec, enable_deterministic=enable_deterministic)

    @staticmethod
    def get_attention_metadata_cls() -> Any:
        return AttentionMetadata

    @classmethod
    def update_step_context(cls, step_context: Any) -> Any:
        """Attaches the lengths and blocks of the batch to the context of a forward step."""
        new, total = step_context.q_seqlens, step_context.kv_seqlens
        step_context.attn_metadata = AttentionMetadata(
            is_decoding=step_context.is_decoding,
            block_offsets=step_context.block_offsets,
            q_start_loc=step_context.q_start_loc,
            q_seqlens=new,
            kv_seqlens=total,
            cu_seqlens_q=torch.nn.functional.pad(new.cumsum(0), (1, 0)),
            cu_seqlens_k=torch.nn.functional.pad(total.cumsum(0), (1, 0)),
            quant_policy=step_context.kv_quant_policy,
        )
        return step_context

    @staticmethod
    def ccl_backend() -> str:
        return "gloo"

    @staticmethod
    def device_count() -> int:
        return 1


def _sliding_window(asked: int | tuple[int, int] | None, causal: bool) -> int | None:
    """How many keys before its own a query sees, from the three forms that models use."""
    left = asked[0] if isinstance(asked, tuple) else asked
    if left is None or left <= 0:
        return None
    _raise_unsupported(sliding_window_without_causality=not causal)
    return left


def _raise_unsupported(**features: bool) -> None:
    for feature, wanted in features.items():
        if wanted:
            raise NotImplementedError(f"the harness's CPU attention for LMDeploy has no {feature}")
