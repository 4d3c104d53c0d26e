"""Names and removal of shards: nothing outside a run folder, and nothing that is no shard."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlm_parity.schema.run_layout import (
    SELFCHECK_RECORD,
    SHARD_RECORD,
    check_shard_name,
    create_shard,
    remove_shard,
)
from vlm_parity.util.errors import UsageError


@pytest.mark.parametrize("name", ["vllm", "vllm-gw0", "20260301-090000-vllm+lmdeploy", "a.b_c"])
def test_names_are_names(name: str) -> None:
    assert check_shard_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/x/y", "~", ".hidden", "a\nb", "-x"])
def test_paths_are_no_names(name: str) -> None:
    with pytest.raises(UsageError):
        check_shard_name(name)


@pytest.mark.parametrize("record", [SHARD_RECORD, SELFCHECK_RECORD])
def test_a_shard_is_removed(tmp_path: Path, record: str) -> None:
    folder = tmp_path / "vllm"
    (folder / "traces").mkdir(parents=True)
    (folder / record).write_text("{}")
    remove_shard(folder)
    assert not folder.exists()
    remove_shard(folder)


def test_a_shard_without_a_record_yet_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "vllm"
    create_shard(folder)
    (folder / "logs").mkdir()
    create_shard(folder)
    assert not (folder / "logs").exists()


def test_a_folder_of_somebody_else_is_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="exists and is no shard, so it is not replaced"):
        remove_shard(tmp_path)
    assert (tmp_path / "thesis.tex").exists()
