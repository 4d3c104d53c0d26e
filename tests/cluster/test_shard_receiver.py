"""Shards in one run folder: any order of results, duplicates and failures; none lost, none doubled."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.traces import write_shard
from tests.support.verdicts import make_verdict
from vlm_parity.cluster.load_plan import ClusterLoad
from vlm_parity.cluster.load_session import LoadResult
from vlm_parity.cluster.shard_archive import pack_shard
from vlm_parity.cluster.shard_receiver import OUTPUT_FILE, ShardReceiver
from vlm_parity.report.load_run import LoadedRun, load_run
from vlm_parity.schema.engine_setup import EntryPoint
from vlm_parity.session.plan import EngineLoad
from vlm_parity.util.errors import UsageError

CASES = ("one_image", "two_images")
LOADS = tuple(
    ClusterLoad(f"qwen2_vl-vllm-{number}", EngineLoad("qwen2_vl", "vllm"), (EntryPoint.CHAT,), len(CASES))
    for number in range(4)
)
LOAD = LOADS[0]


@cache
def pack_result(load: ClusterLoad, verdicts: int = len(CASES)) -> bytes:
    """Return the shard of a session that has written some of its verdicts."""
    with tempfile.TemporaryDirectory() as folder:
        made = (make_verdict(case=case) for case in CASES[:verdicts])
        write_shard(Path(folder), load.name, *made, expected=len(CASES))
        return pack_shard(Path(folder, "shards", load.name))


def make_result(load: ClusterLoad, exit_code: int = 0, verdicts: int = len(CASES)) -> LoadResult:
    return LoadResult(exit_code, pack_result(load, verdicts), b"first\nthe end\n", 1.0)


def describe(run: LoadedRun) -> dict[str, str]:
    return {shard.name: shard.incomplete_reason for shard in run.shards}


def test_a_session_that_finds_fewer_cases_than_planned_fails_the_run(tmp_path: Path) -> None:
    (tmp_path / "session").mkdir()
    write_shard(tmp_path / "session", LOAD.name, make_verdict(case=CASES[0]), expected=1)
    archive = pack_shard(tmp_path / "session" / "shards" / LOAD.name)
    receiver = ShardReceiver(tmp_path / "run", [LOAD], "parity run")
    receiver.receive(LOAD, LoadResult(0, archive, b"", 1.0))
    receiver.release()
    run = load_run(tmp_path / "run")
    assert not run.passes
    assert f"1 of {len(CASES)} planned comparisons" in str(run.shards[0].record)


@given(st.permutations([*LOADS, *LOADS[:2]]))
def test_results_in_any_order_and_twice(order: list[ClusterLoad]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        receiver = ShardReceiver(Path(folder), LOADS, "parity run")
        for load in order:
            receiver.receive(load, make_result(load))
        receiver.release()
        run = load_run(Path(folder))
        assert describe(run) == dict.fromkeys((load.name for load in LOADS), "")
        written = sorted((entry.shard, entry.verdict.case) for entry in run.verdicts)
        assert written == sorted((load.name, case) for load in LOADS for case in CASES)


def test_a_load_without_a_result_yet_is_running(tmp_path: Path) -> None:
    receiver = ShardReceiver(tmp_path, LOADS[:2], "parity run")
    receiver.receive(LOAD, make_result(LOAD))
    assert [(shard.name, shard.is_running) for shard in load_run(tmp_path).shards] == [
        (LOAD.name, False),
        (LOADS[1].name, True),
    ]
    with pytest.raises(UsageError, match="another session"):
        ShardReceiver(tmp_path, LOADS, "parity run")
    receiver.release()


def test_an_earlier_shard_does_not_stand_for_a_lost_one(tmp_path: Path) -> None:
    for _ in range(2):
        receiver = ShardReceiver(tmp_path, [LOAD], "parity run")
        assert load_run(tmp_path).verdicts == ()
        receiver.receive(LOAD, make_result(LOAD))
    receiver = ShardReceiver(tmp_path, [LOAD], "parity run")
    receiver.release()
    assert not load_run(tmp_path).passes


def test_a_lost_load_is_named_with_its_reason(tmp_path: Path) -> None:
    receiver = ShardReceiver(tmp_path, [LOAD], "parity run")
    receiver.fail(LOAD, "the node was lost 4 times")
    run = load_run(tmp_path)
    assert describe(run) == {LOAD.name: "0 of 2 expected verdicts; qwen2_vl vllm: the node was lost 4 times"}
    assert run.problems == ()


@pytest.mark.parametrize("verdicts", [1, 2])
def test_a_session_that_ended_early_keeps_its_verdicts(verdicts: int, tmp_path: Path) -> None:
    ShardReceiver(tmp_path, [LOAD], "parity run").receive(LOAD, make_result(LOAD, -9, verdicts))
    run = load_run(tmp_path)
    assert len(run.verdicts) == verdicts
    assert describe(run)[LOAD.name].endswith("its session ended with SIGKILL: the end")
    assert (tmp_path / "shards" / LOAD.name / OUTPUT_FILE).read_bytes() == b"first\nthe end\n"


@pytest.mark.parametrize(
    ("archive", "reason"), [(b"PK", "is damaged"), (b"", "is damaged"), (None, "its session wrote no shard")]
)
def test_a_result_without_a_shard_is_named(archive: bytes | None, reason: str, tmp_path: Path) -> None:
    empty = pack_shard(tmp_path / "nothing")
    result = LoadResult(0, empty if archive is None else archive, b"", 1.0)
    ShardReceiver(tmp_path, [LOAD], "parity run").receive(LOAD, result)
    assert reason in describe(load_run(tmp_path))[LOAD.name]


def test_a_folder_that_is_no_shard_is_kept(tmp_path: Path) -> None:
    foreign = tmp_path / "shards" / LOADS[1].name / "notes.txt"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine")
    with pytest.raises(UsageError, match="is no shard"):
        ShardReceiver(tmp_path, LOADS, "parity run")
    assert foreign.read_text() == "mine"
    shutil.rmtree(foreign.parent)
    ShardReceiver(tmp_path, LOADS, "parity run").release()  # nothing else holds them
