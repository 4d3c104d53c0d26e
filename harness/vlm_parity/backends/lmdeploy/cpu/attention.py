"""Attention and the paged key/value cache in plain PyTorch, as LMDeploy's kernels define them."""

from __future__ import annotations

import torch


def compute_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scale: float,
    causal: bool,
    window: int | None = None,
    softcap: float = 0.0,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attention of one sequence, computed in float32 at least.

    The last query stands at the position of the last key, so a query may look back into a cache.

    Args:
        query: [queries, heads, head size].
        key: [keys, key/value heads, head size]; each serves ``heads / key/value heads`` heads.
        value: [keys, key/value heads, value size].
        scale: what the scores are multiplied with.
        causal: whether a query sees no later key.
        window: how many keys before its own position a query sees; None for all. This is what
            LMDeploy's Triton and FlashAttention kernels make of a model's ``sliding_window``.
        softcap: scores are squeezed into +-softcap by tanh; 0 for not at all.
        sinks: [heads], a score that takes its share of the softmax and gives nothing.

    Returns:
        [queries, heads, value size] in the dtype of the query.
    """
    exact = torch.promote_types(query.dtype, torch.float32)
    group = query.shape[1] // key.shape[1]
    q = query.to(exact).transpose(0, 1)
    k = key.to(exact).transpose(0, 1).repeat_interleave(group, 0)
    v = value.to(exact).transpose(0, 1).repeat_interleave(group, 0)
    scores = q @ k.transpose(1, 2) * scale
    if softcap > 0:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~_attention_mask(len(query), len(key), causal, window), float("-inf"))
    return (_softmax(scores, sinks) @ v).transpose(0, 1).to(query.dtype)


def _attention_mask(queries: int, keys: int, causal: bool, window: int | None) -> torch.Tensor:
    """[queries, keys]: whether the query sees the key."""
    at = torch.arange(keys - queries, keys)[:, None]
    of = torch.arange(keys)[None]
    visible = torch.ones(queries, keys, dtype=torch.bool)
    if causal:
        visible &= of <= at
    if window is not None:
        visible &= of >= at - window
    return visible


def _softmax(scores: torch.Tensor, sinks: torch.Tensor | None) -> torch.Tensor:
    if sinks is None:
        return scores.softmax(-1)
    extra = sinks.to(scores.dtype)[:, None, None].expand(-1, scores.shape[1], 1)
    return torch.cat([scores, extra], -1).softmax(-1)[..., :-1]


def write_pages(cache: torch.Tensor, blocks: torch.Tensor, start: int, new: torch.Tensor) -> None:
    """Writes one sequence's new keys (or values) into its pages, in place.

    Args:
        cache: [blocks, block size, heads, size].
        blocks: [pages], the sequence's blocks in order.
        start: the position of the first new one.
        new: [tokens, heads, size].
    """
    positions = torch.arange(start, start + len(new))
    size = cache.shape[1]
    cache[blocks.long()[positions // size], positions % size] = new.to(cache.dtype)


def read_pages(cache: torch.Tensor, blocks: torch.Tensor, length: int) -> torch.Tensor:
    """The first ``length`` keys (or values) of one sequence: [length, heads, size]."""
    size = cache.shape[1]
    pages = cache[blocks.long()[: -(-length // size)]]
    return pages.flatten(0, 1)[:length]
