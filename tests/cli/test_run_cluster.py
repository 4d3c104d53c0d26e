"""Words of ``parity run --cluster`` that every load shares."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.cli.run import build_run_parser
from vlm_parity.cli.run_cluster import remove_own_options

SHARED = (
    ("--case", "two_*"),
    ("--case=one_image",),
    ("--depth", "tokens"),
    ("--keep-logits",),
    ("--engine-arg", "a=--model"),
    ("cases",),
)
OWN = (
    ("--cluster", "auto"),
    ("--backend-env", "vllm=/opt/vllm/bin/python"),
    ("--backend", "vllm"),
    ("--model=qwen2_vl",),
    ("--mode", "batched"),
    ("--entry-point", "text"),
    ("--run", "reports/x"),
    ("--load-gpus=2",),
)


@given(st.lists(st.sampled_from([*SHARED, *OWN])))
def test_shared_words_keep_their_order(options: list[tuple[str, ...]]) -> None:
    words = [word for option in options for word in option]
    assert build_run_parser()[0].parse_known_intermixed_args(words)[1] == []
    assert remove_own_options(words) == [word for option in options if option in SHARED for word in option]
