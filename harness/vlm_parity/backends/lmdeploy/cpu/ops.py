"""An operator backend of LMDeploy for CPUs. It imports LMDeploy, so it must be imported lazily.

All operators but the two kinds of attention are LMDeploy's own default implementations.
"""

from __future__ import annotations

from typing import Any

import torch
from lmdeploy.messages import QuantPolicy
from lmdeploy.pytorch.backends.attention import AttentionImpl, AttentionMetadata, PagedAttentionBuildSpec
from lmdeploy.pytorch.backends.default.op_backend import DefaultOpsBackend
from lmdeploy.pytorch.backends.flash_attention import FlashAttentionBuildSpec, FlashAttentionImpl

from vlm_parity.backends.lmdeploy.cpu.attention import compute_attention, read_pages, write_pages
from vlm_parity.backends.lmdeploy.cpu.operator_errors import keep_errors


class PagedAttention(AttentionImpl):  # type: ignore[misc]
    """Attention of the language model through the paged cache."""

    def __init__(self, spec: PagedAttentionBuildSpec) -> None:
        """Store the parameters of a layer.

        Args:
            spec: of the layer.

        Raises:
            NotImplementedError: the layer needs a feature that only the GPU kernels have; the message names
                it.
        """
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

    @keep_errors
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
        """Write the new keys and values into the cache, then attend to the whole of each sequence.

        Args:
            query: [tokens, heads, head size], the sequences of the batch one after the other.
            key: [tokens, key/value heads, head size]; None if an earlier layer wrote the cache.
            value: likewise.
            k_cache: [blocks, block size, key/value heads, head size].
            v_cache: likewise.
            attn_metadata: lengths and blocks of the sequences.
            k_scales_zeros: of a quantized cache; not supported.
            v_scales_zeros: likewise.
            learnable_sink: [heads].
            nsa_indices: of sparse attention; not supported.
            inplace: ignored.

        Returns:
            [tokens, heads, value size].

        Raises:
            NotImplementedError: the cache is quantized, or the attention is sparse.
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
            rows = slice(start, start + new)
            if key is not None and value is not None:
                write_pages(k_cache, blocks, total - new, key[rows])
                write_pages(v_cache, blocks, total - new, value[rows])
            output[rows] = compute_attention(
                query[rows],
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
    """Attention without a cache, used by vision towers."""

    def __init__(self, spec: FlashAttentionBuildSpec) -> None:
        """Store the parameters of a layer.

        Args:
            spec: of the layer.

        Raises:
            NotImplementedError: the layer has a sliding window but is not causal.
        """
        self.scale = spec.head_dim**-0.5 if spec.scale is None else spec.scale
        self.value_size = spec.head_dim if spec.v_head_dim is None else spec.v_head_dim
        self.causal = spec.causal
        self.softcap = spec.logit_softcapping or 0.0
        self.window = _sliding_window(spec.sliding_window, spec.causal)

    @keep_errors
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
        """Attend within each sequence.

        Args:
            query: [tokens, heads, head size], the sequences one after the other.
            key: [tokens, key/value heads, head size].
            value: [tokens, key/value heads, value size].
            q_start_loc: int [sequences], the first query of each sequence.
            q_seqlens: int [sequences], its number of queries.
            kv_start_loc: int [sequences], its first key.
            kv_seqlens: int [sequences], its number of keys.
            max_q_seqlen: ignored.

        Returns:
            [tokens, heads, value size].
        """
        output = query.new_empty(*query.shape[:-1], self.value_size)
        locations = (q_start_loc, q_seqlens, kv_start_loc, kv_seqlens)
        for q_start, q_length, k_start, k_length in zip(*(t.tolist() for t in locations), strict=True):
            queries = slice(q_start, q_start + q_length)
            keys = slice(k_start, k_start + k_length)
            output[queries] = compute_attention(
                query[queries],
                key[keys],
                value[keys],
                scale=self.scale,
                causal=self.causal,
                window=self.window,
                softcap=self.softcap,
            )
        return output


class CpuOpsBackend(DefaultOpsBackend):  # type: ignore[misc]
    """LMDeploy's default operators, with the two kinds of attention that it has for GPUs only."""

    @staticmethod
    def get_name() -> str:
        return "cpu"

    @classmethod
    def build_op(cls, spec: Any, *, enable_deterministic: bool = False) -> Any:
        """Return the implementation for the spec of a layer.

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
    @keep_errors
    def update_step_context(cls, step_context: Any) -> Any:
        """Attach the lengths and blocks of the batch to the context of a forward step."""
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


def _sliding_window(window: int | tuple[int, int] | None, causal: bool) -> int | None:
    """Return the window for ``compute_attention`` from the three forms of specs."""
    left = window[0] if isinstance(window, tuple) else window
    if left is None or left <= 0:
        return None
    _raise_unsupported(sliding_window_without_causality=not causal)
    return left


def _raise_unsupported(**features: bool) -> None:
    for feature, is_needed in features.items():
        if is_needed:
            raise NotImplementedError(f"vlm-parity's CPU attention for LMDeploy has no {feature}")
