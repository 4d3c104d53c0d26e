"""The CPU attention and cache under LMDeploy, the lookup of private names, the redirections."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import product
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from vlm_parity.schema.engine_setup import Depth

torch = pytest.importorskip("torch")

from vlm_parity.backends.base import Settings
from vlm_parity.backends.lmdeploy.cpu.attention import compute_attention, read_pages, write_pages
from vlm_parity.backends.lmdeploy.cpu.internals import PrivateApi
from vlm_parity.util.errors import PrivateApiChangedError, UnsupportedError

if TYPE_CHECKING:
    from torch import Tensor

SCALE = 0.3
HEADS, KV_HEADS, SIZE, VALUE_SIZE = 4, 2, 8, 6


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def _qkv(queries: int, keys: int) -> tuple[Tensor, Tensor, Tensor]:
    return (
        _random(queries, HEADS, SIZE),
        _random(keys, KV_HEADS, SIZE),
        _random(keys, KV_HEADS, VALUE_SIZE),
    )


def _sdpa(q: Tensor, k: Tensor, v: Tensor, visible: Tensor) -> Tensor:
    """PyTorch's own attention on [tokens, heads, size]."""
    output = torch.nn.functional.scaled_dot_product_attention(
        *(x.transpose(0, 1) for x in (q, k, v)), attn_mask=visible, scale=SCALE, enable_gqa=True
    )
    return output.transpose(0, 1)


@pytest.mark.parametrize(
    ("queries", "keys", "causal", "window"),
    [(5, 5, True, None), (3, 9, True, None), (1, 9, True, None), (5, 5, False, None), (4, 9, True, 2)],
)
def test_attention_is_scaled_dot_product_attention(
    queries: int, keys: int, causal: bool, window: int | None
) -> None:
    q, k, v = _qkv(queries, keys)
    visible = torch.ones(queries, keys, dtype=torch.bool)
    for i, j in product(range(queries), range(keys)):
        behind = keys - queries + i - j
        visible[i, j] = (not causal or behind >= 0) and (window is None or behind <= window)
    got = compute_attention(q, k, v, scale=SCALE, causal=causal, window=window)
    torch.testing.assert_close(got, _sdpa(q, k, v, visible), rtol=0, atol=1e-6)


def test_scores_are_capped_before_the_softmax() -> None:
    q, k, v = _qkv(1, 1 + 3)
    got = compute_attention(q * 50, k, v, scale=SCALE, causal=True, softcap=2.0)
    scores = torch.einsum("qhd,khd->hqk", q * 50, k.repeat_interleave(2, 1)) * SCALE
    weights = (2.0 * torch.tanh(scores / 2.0)).softmax(-1)
    want = torch.einsum("hqk,khd->qhd", weights, v.repeat_interleave(2, 1))
    torch.testing.assert_close(got, want)


def test_a_sink_has_a_share_of_the_softmax_and_no_value() -> None:
    q, k, v = _qkv(2, 5)
    sinks = torch.tensor([0.5, -1.0, 2.0, 0.0])
    got = compute_attention(q, k, v, scale=SCALE, causal=False, sinks=sinks)
    scores = torch.einsum("qhd,khd->hqk", q, k.repeat_interleave(2, 1)) * SCALE
    weights = scores.exp() / (scores.exp().sum(-1, keepdim=True) + sinks.exp()[:, None, None])
    torch.testing.assert_close(got, torch.einsum("hqk,khd->qhd", weights, v.repeat_interleave(2, 1)))


def test_half_precision_is_computed_in_single_precision() -> None:
    q, k, v = (x.to(torch.bfloat16) for x in _qkv(4, 4))
    exact = compute_attention(*(x.float() for x in (q, k, v)), scale=SCALE, causal=True)
    got = compute_attention(q, k, v, scale=SCALE, causal=True)
    assert got.dtype is torch.bfloat16
    torch.testing.assert_close(got, exact.to(torch.bfloat16), rtol=0, atol=0)


def test_pages_are_read_as_they_were_written() -> None:
    cache = torch.zeros(6, 4, KV_HEADS, SIZE)
    keys = _random(11, KV_HEADS, SIZE)
    blocks = torch.tensor([5, 0, 3])
    write_pages(cache, blocks, 0, keys[:6])
    write_pages(cache, blocks, 6, keys[6:])
    torch.testing.assert_close(read_pages(cache, blocks, 11), keys, rtol=0, atol=0)
    torch.testing.assert_close(cache[0], keys[4:8], rtol=0, atol=0)
    assert not cache[[1, 2, 4]].any()


def test_an_error_names_a_missing_name() -> None:
    with pytest.raises(
        PrivateApiChangedError, match=r"json\.gone is gone.*vlm-parity was tested with 0\.18\.0"
    ):
        PrivateApi("json", "gone").find()
    with pytest.raises(PrivateApiChangedError, match=r"json\.JSONDecoder\.gone is gone"):
        PrivateApi("json", "JSONDecoder.gone").find()
    with pytest.raises(PrivateApiChangedError, match=r"no_such_package\.thing is gone"):
        PrivateApi("no_such_package", "thing").find()


def test_an_error_names_a_missing_parameter() -> None:
    with pytest.raises(PrivateApiChangedError, match=r"json\.dumps has no parameter 'device', only \(obj, "):
        PrivateApi("json", "dumps", ("obj", "device")).find()


def _spec(**changes: Any) -> Any:
    from lmdeploy.pytorch.backends.attention import PagedAttentionBuildSpec

    fields = {
        "num_heads": HEADS,
        "head_dim": SIZE,
        "scale": SCALE,
        "num_kv_heads": KV_HEADS,
        "v_head_dim": VALUE_SIZE,
        "alibi": False,
        "sliding_window": None,
        "logit_softcapping": 0.0,
        "causal": True,
        "use_flash_mla": False,
        "mla_index_topk": None,
        "learnable_sink": False,
        "block_sparse_size": 1,
    }
    return PagedAttentionBuildSpec(**{**fields, **changes})


def _metadata(queries: list[int], keys: list[int], blocks: list[list[int]], **more: Any) -> Any:
    from lmdeploy.pytorch.backends.attention import AttentionMetadata

    return AttentionMetadata(
        is_decoding=False,
        block_offsets=torch.tensor(blocks),
        q_seqlens=torch.tensor(queries),
        kv_seqlens=torch.tensor(keys),
        **more,
    )


def test_paged_attention_of_a_batch_is_that_of_each_sequence() -> None:
    pytest.importorskip("lmdeploy")
    from vlm_parity.backends.lmdeploy.cpu.ops import CpuOpsBackend

    layer = CpuOpsBackend.build_op(_spec())
    caches = torch.zeros(8, 4, KV_HEADS, SIZE), torch.zeros(8, 4, KV_HEADS, VALUE_SIZE)
    long, short = _qkv(7, 7), _qkv(3, 3)
    first = _metadata([6, 3], [6, 3], [[7, 2], [4, 0]])
    layer.forward(*(torch.cat([a[:6], b]) for a, b in zip(long, short, strict=True)), *caches, first)
    then = _metadata([1], [7], [[7, 2]])
    got = layer.forward(*(x[6:] for x in long), *caches, then)
    torch.testing.assert_close(got, compute_attention(*long, scale=SCALE, causal=True)[6:])


@pytest.mark.parametrize(
    ("window", "expected"), [(None, None), (-1, None), ((-1, -1), None), (2, 2), ((2, 0), 2)]
)
def test_a_sliding_window_has_the_meaning_of_the_gpu_kernels(window: Any, expected: int | None) -> None:
    pytest.importorskip("lmdeploy")
    from vlm_parity.backends.lmdeploy.cpu.ops import CpuOpsBackend

    assert CpuOpsBackend.build_op(_spec(sliding_window=window)).window == expected


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"alibi": True}, "alibi"),
        ({"use_flash_mla": True}, "use_flash_mla"),
        ({"mla_index_topk": 4}, "mla_index_topk"),
        ({"block_sparse_size": 2}, "block_sparse_size"),
        ({"sliding_window": 3, "causal": False}, "sliding_window_without_causality"),
    ],
)
def test_an_error_names_a_missing_feature(changes: dict[str, Any], name: str) -> None:
    pytest.importorskip("lmdeploy")
    from vlm_parity.backends.lmdeploy.cpu.ops import CpuOpsBackend

    with pytest.raises(NotImplementedError, match=name):
        CpuOpsBackend.build_op(_spec(**changes))


def test_an_error_names_a_quantized_cache_and_sparse_indices() -> None:
    pytest.importorskip("lmdeploy")
    from lmdeploy.messages import QuantPolicy

    from vlm_parity.backends.lmdeploy.cpu.ops import CpuOpsBackend

    layer = CpuOpsBackend.build_op(_spec())
    nothing = [torch.zeros(0)] * 5
    with pytest.raises(NotImplementedError, match="quantized_cache"):
        layer.forward(*nothing, _metadata([1], [1], [[0]], quant_policy=QuantPolicy.INT8))
    with pytest.raises(NotImplementedError, match="nsa_indices"):
        layer.forward(*nothing, _metadata([1], [1], [[0]]), nsa_indices=torch.zeros(1))


def test_redirections_have_reasons_and_are_undone() -> None:
    pytest.importorskip("lmdeploy")
    from vlm_parity.backends.lmdeploy.cpu.redirect import redirect_to_cpu

    before = torch.cuda.Stream
    with ExitStack() as stack:
        notes = redirect_to_cpu(stack, Depth.LOGITS)
        assert torch.cuda.Stream is not before
        assert all(": " in note for note in notes)
        assert any("_get_backend" in note for note in notes)
        assert not any("lmdeploy.pytorch.models" in note for note in notes)
    assert torch.cuda.Stream is before


def test_the_frontend_alone_needs_one_redirection() -> None:
    pytest.importorskip("lmdeploy")
    from vlm_parity.backends.lmdeploy.cpu.redirect import redirect_to_cpu

    with ExitStack() as stack:
        (note,) = redirect_to_cpu(stack, Depth.TOKENS)
    assert note.startswith("lmdeploy.vl.engine._resolve_mm_feature_dtype: ")


def test_a_missing_target_leaves_nothing_redirected(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lmdeploy")
    from lmdeploy.vl import engine

    from vlm_parity.backends.lmdeploy.cpu.redirect import redirect_to_cpu

    before = torch.cuda.Stream
    monkeypatch.delattr(engine, "_resolve_mm_feature_dtype")
    with (
        ExitStack() as stack,
        pytest.raises(
            PrivateApiChangedError, match=r"lmdeploy\.vl\.engine\._resolve_mm_feature_dtype is gone"
        ),
    ):
        redirect_to_cpu(stack, Depth.LOGITS)
    assert torch.cuda.Stream is before


def test_on_cuda_single_precision_is_refused_with_the_message_of_the_engine() -> None:
    pytest.importorskip("lmdeploy")
    from vlm_parity.backends.lmdeploy.backend import LmdeployBackend

    backend = LmdeployBackend(Settings(device="cuda", dtype="float32", depth=Depth.TOKENS))
    with pytest.raises(UnsupportedError, match="'auto', 'float16', 'bfloat16'"):
        backend.load(SimpleNamespace())  # type: ignore[arg-type]
    assert backend.workarounds == []
