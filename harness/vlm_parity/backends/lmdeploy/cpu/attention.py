"""Attention and the paged key/value cache in plain PyTorch, with the semantics of LMDeploy's kernels."""

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
    """Compute the attention of one sequence, in float32 or more.

    The last query has the position of the last key, so queries can attend to a cache.

    Args:
        query: [queries, heads, head size].
        key: [keys, key/value heads, head size]; each head serves ``heads / key/value heads`` query heads.
        value: [keys, key/value heads, value size].
        scale: factor of the scores.
        causal: whether a query attends to no later key.
        window: number of keys before its own position to which a query attends; None for all. LMDeploy's
            Triton and FlashAttention kernels interpret a model's ``sliding_window`` this way.
        softcap: bound of the scores, by tanh; 0 for none.
        sinks: [heads], additional scores in the softmax that have no value.

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
    """Return a mask, bool [queries, keys], that is true where the query attends to the key."""
    query_positions = torch.arange(keys - queries, keys)[:, None]
    key_positions = torch.arange(keys)[None]
    visible = torch.ones(queries, keys, dtype=torch.bool)
    if causal:
        visible &= key_positions <= query_positions
    if window is not None:
        visible &= key_positions >= query_positions - window
    return visible


def _softmax(scores: torch.Tensor, sinks: torch.Tensor | None) -> torch.Tensor:
    if sinks is None:
        return scores.softmax(-1)
    extra = sinks.to(scores.dtype)[:, None, None].expand(-1, scores.shape[1], 1)
    return torch.cat([scores, extra], -1).softmax(-1)[..., :-1]


def write_pages(cache: torch.Tensor, blocks: torch.Tensor, start: int, new: torch.Tensor) -> None:
    """Write the new keys (or values) of one sequence into its pages, in place.

    Args:
        cache: [blocks, block size, heads, size].
        blocks: [pages], the blocks of the sequence, in order.
        start: position of the first new key.
        new: [tokens, heads, size].
    """
    positions = torch.arange(start, start + len(new))
    size = cache.shape[1]
    cache[blocks.long()[positions // size], positions % size] = new.to(cache.dtype)


def read_pages(cache: torch.Tensor, blocks: torch.Tensor, length: int) -> torch.Tensor:
    """Return the first ``length`` keys (or values) of one sequence: [length, heads, size].

    Args:
        cache: [blocks, block size, heads, size].
        blocks: [pages], the blocks of the sequence, in order.
        length: number of positions.
    """
    size = cache.shape[1]
    pages = cache[blocks.long()[: -(-length // size)]]
    return pages.flatten(0, 1)[:length]
