"""Sessions that run one share of the engine loads, and the report that merges them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.plugin_sessions import (
    AGAIN,
    ALL_SETUPS,
    BOTH,
    RunPytest,
    WriteTraces,
    count_loads,
    list_selected,
)
from vlm_parity.cli.main import main
from vlm_parity.report.load_run import LoadedRun, load_run
from vlm_parity.report.summary import list_run_problems
from vlm_parity.schema.record import read_record, write_record
from vlm_parity.schema.run import Shard
from vlm_parity.schema.timings import Timings
from vlm_parity.util.exit_codes import FAILED, PASSED

pytest_plugins = ["pytester"]

ONE_CASE = ("--case", "two_images")
LOADS = 3
"""Of the tiny engine: its modes. The first one also serves a second entry point."""


def run_share(engine: RunPytest, number: int, count: int, *words: str) -> pytest.RunResult:
    return engine(*ALL_SETUPS, *ONE_CASE, "--shard", f"{number}/{count}", "--run", f"job-{number}", *words)


def read_shard(pytester: pytest.Pytester, number: int, count: int) -> Shard:
    name = f"tiny_engine-{number}-of-{count}"
    return read_record(pytester.path / f"job-{number}" / "shards" / name / "shard.json", Shard)


def merge(pytester: pytest.Pytester, *numbers: int) -> tuple[int, LoadedRun]:
    jobs = [str(pytester.path / f"job-{number}") for number in numbers]
    out = pytester.path / f"merged-{'-'.join(map(str, numbers))}"
    return main(["report", *jobs, "--out", str(out)]), load_run(out)


def test_shares_together_are_the_whole_plan(engine: RunPytest, pytester: pytest.Pytester) -> None:
    everything = engine(*ALL_SETUPS, *ONE_CASE, "--collect-only", "-q")
    found: list[str] = []
    for number in (1, 2):
        selected = run_share(engine, number, 2, "--collect-only", "-q")
        found += list_selected(selected)
        result = run_share(engine, number, 2)
        assert result.ret == pytest.ExitCode.OK  # the shard of the other job is no failure of this one
        result.stdout.fnmatch_lines([f"Share {number} of 2: tiny-model *", "*This run is incomplete."])
    assert sorted(found) == sorted(list_selected(everything))
    code, run = merge(pytester, 1, 2)
    assert (code, list_run_problems(run)) == (PASSED, [])
    shares = [shard.record.share for shard in run.shards if shard.record is not None]
    assert [(share.number, share.count) for share in shares if share is not None] == [(1, 2), (2, 2)]
    assert len({share.plan for share in shares if share is not None}) == 1


def test_entry_points_that_share_an_engine_stay_together(
    engine: RunPytest, pytester: pytest.Pytester
) -> None:
    for number in range(1, LOADS + 1):
        run_share(engine, number, LOADS, "--run", "run")
    loads = {name: count for name, count in count_loads(pytester).items() if "reference" not in name}
    assert len(loads) == LOADS
    assert set(loads.values()) == {1}


def test_missing_share_is_named(engine: RunPytest, pytester: pytest.Pytester) -> None:
    run_share(engine, 1, 2)
    code, run = merge(pytester, 1)
    assert code == FAILED
    assert run.share_problems == (
        "shard tiny_engine-2-of-2 is missing: 2 comparisons (tiny-model tiny_engine-picky, "
        "tiny-model tiny_engine-prefix_cached)",
    )


def test_repeated_share_is_named(engine: RunPytest, pytester: pytest.Pytester) -> None:
    run_share(engine, 1, 1)
    engine(*ALL_SETUPS, *ONE_CASE, "--shard", "1/1", "--run", "job-2")
    code, run = merge(pytester, 1, 2)
    assert code == FAILED
    assert run.share_problems == ("share 1 of 1 is there 2 times: tiny_engine-1-of-1, tiny_engine-1-of-1",)


def test_share_of_another_plan_is_named(engine: RunPytest, pytester: pytest.Pytester) -> None:
    run_share(engine, 1, 2)
    run_share(engine, 2, 2, "--dtype", "bfloat16")
    code, run = merge(pytester, 1, 2)
    assert code == FAILED
    assert "shard tiny_engine-1-of-2 is missing" in run.share_problems[1]
    assert run.share_problems[-1].startswith("shards of different plans, with other cases, models, options")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"commit": "b" * 40}, f"shards of one plan differ in commit: *, {'b' * 40} in tiny_engine-2-of-2"),
        ({"versions": {"numpy": "0.1"}}, "shards of one plan differ in numpy: *, 0.1 in tiny_engine-2-of-2"),
    ],
)
def test_share_of_another_commit_or_environment_is_named(
    engine: RunPytest, pytester: pytest.Pytester, change: dict[str, str], problem: str
) -> None:
    for number in (1, 2):
        run_share(engine, number, 2)
    shard = read_shard(pytester, 2, 2)
    assert shard.share is not None
    other = shard.model_copy(update={"share": shard.share.model_copy(update=change)})
    write_record(pytester.path / "job-2" / "shards" / shard.name / "shard.json", other)
    code, run = merge(pytester, 1, 2)
    assert code == FAILED
    pytest.LineMatcher(list(run.share_problems)).fnmatch_lines([problem])


def test_empty_share_passes_with_a_sentence(engine: RunPytest, pytester: pytest.Pytester) -> None:
    result = run_share(engine, 5, 5)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["Share 5 of 5: no engine load, so nothing is compared"])
    shard = read_shard(pytester, 5, 5)
    assert (shard.expected, shard.finished is not None) == (0, True)
    assert not load_run(pytester.path / "job-5").incomplete


def test_share_of_an_empty_plan_compares_nothing(engine: RunPytest) -> None:
    result = engine("--shard", "1/2", "-k", "no_such_test")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_recorded_seconds_decide(engine: RunPytest, pytester: pytest.Pytester) -> None:
    seconds = {
        "tiny-model/tiny_engine": 3.0,
        "tiny-model/tiny_engine-picky": 100.0,
        "tiny-model/tiny_engine-prefix_cached": 3.0,
    }
    write_record(pytester.path / "timings.json", Timings(seconds=seconds))
    result = run_share(engine, 1, 2, "--timings", "timings.json")
    result.stdout.fnmatch_lines(["Share 1 of 2: tiny-model tiny_engine-picky (1)"])


def test_timings_of_a_run_are_written_and_read(engine: RunPytest, pytester: pytest.Pytester) -> None:
    run_share(engine, 1, 1)
    path = pytester.path / "timings.json"
    job = str(pytester.path / "job-1")
    assert main(["report", job, "--out", str(pytester.path / "out"), "--timings", str(path)]) == PASSED
    assert len(json.loads(path.read_text())["seconds"]) == LOADS
    assert run_share(engine, 2, 2, "--timings", str(path)).ret == pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--shard", "6/5"), "*'6/5' is no share N/M with N from 1 to M"),
        (("--shard", "0/5"), "*'0/5' is no share N/M with N from 1 to M"),
        (("--shard", "1/x"), "*shard '1/x': a shard's name is letters*"),
        (("--timings", "nowhere"), "*--parity-timings needs --parity-shard N/M"),
        (("--shard", "1/2", "--timings", "nowhere"), "*--parity-timings nowhere: not a readable Timings: *"),
        (("--shard", "1/2", "--fuzz"), "*--parity-shard N/M divides comparisons, so it excludes *"),
    ],
)
def test_wrong_options_are_usage_errors(engine: RunPytest, words: tuple[str, ...], message: str) -> None:
    result = engine(*words)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


@pytest.mark.parametrize("number", [1, 2])
def test_workers_run_a_share_or_find_it_empty(
    parity: RunPytest, earlier_run: WriteTraces, pytester: pytest.Pytester, number: int
) -> None:
    pytest.importorskip("xdist")
    earlier_run()
    result = parity(*AGAIN, *BOTH, "--shard", f"{number}/2", "-n", "1")
    assert result.ret == pytest.ExitCode.OK
    run = load_run(pytester.path / "run")
    assert not run.incomplete
    assert [problem.partition(" is missing")[0] for problem in run.share_problems] == [
        f"shard vllm-{3 - number}-of-2"
    ]


def test_shards_are_named_after_backends_and_share(engine: RunPytest, pytester: pytest.Pytester) -> None:
    run_share(engine, 1, 1)
    assert [path.name for path in Path(pytester.path / "job-1" / "shards").iterdir()] == [
        "tiny_engine-1-of-1"
    ]
