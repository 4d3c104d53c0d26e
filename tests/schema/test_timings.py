"""Recorded seconds of engine loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlm_parity.schema.record import write_record
from vlm_parity.schema.run import Shard
from vlm_parity.schema.timings import collect_timings, read_timings
from vlm_parity.util.errors import UsageError


def make_shard(**seconds: float) -> Shard:
    return Shard(
        name="s", started="", command="", backends=(), cases={}, models={}, expected=0, seconds=seconds
    )


SECONDS = {
    "m/vllm/load": 10.0,
    "m/vllm/capture": 5.0,
    "m/vllm/process": 1.04,
    "org--m/vllm-batched/load": 2.0,
    "m/reference/load": 100.0,
    "m/checkpoint": 7.0,
    "diff": 3.0,
}


def test_phases_of_engines_are_summed_and_others_left_out() -> None:
    assert collect_timings([make_shard(**SECONDS)]).seconds == {"m/vllm": 16.0, "org--m/vllm-batched": 2.0}


def test_load_in_several_shards_counts_once() -> None:
    shards = [make_shard(**{"m/vllm/load": value}) for value in (3.0, 9.0, 4.0)]
    assert collect_timings(shards).seconds == {"m/vllm": 9.0}


def test_run_folder_and_file_are_equal(tmp_path: Path) -> None:
    write_record(tmp_path / "run" / "shards" / "s" / "shard.json", make_shard(**SECONDS))
    timings = read_timings(tmp_path / "run")
    write_record(tmp_path / "timings.json", timings)
    assert read_timings(tmp_path / "timings.json") == timings


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not a readable Timings"),
        ("{", "not a readable Timings"),
        ('{"schema_version": 1, "seconds": {"m/vllm": -1}}', "not a readable Timings"),
        ('{"schema_version": 9, "seconds": {}}', "schema version 9"),
    ],
)
def test_file_that_is_no_timings_is_a_usage_error(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "timings.json").write_text(content)
    with pytest.raises(UsageError, match=message):
        read_timings(tmp_path / "timings.json")


def test_folder_without_shards_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no shard"):
        read_timings(tmp_path)
