"""Names of shards: nothing outside a run folder."""

from __future__ import annotations

import pytest

from vlm_parity.schema.run_layout import check_shard_name
from vlm_parity.util.errors import UsageError


@pytest.mark.parametrize("name", ["vllm", "vllm-gw0", "20260301-090000-vllm+lmdeploy", "a.b_c"])
def test_names_are_names(name: str) -> None:
    assert check_shard_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/x/y", "~", ".hidden", "a\nb", "-x"])
def test_paths_are_no_names(name: str) -> None:
    with pytest.raises(UsageError):
        check_shard_name(name)
