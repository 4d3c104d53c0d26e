"""The ``parity`` command: what it prints, and the exit codes that a pipeline goes by."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.traces import TraceFiles, make_trace, write_shard
from vlm_parity.cli.main import main
from vlm_parity.report.load_run import load_run
from vlm_parity.util.exit_codes import FAILED, PASSED, USAGE

CASES = Path(__file__).parents[2] / "cases" / "conversations"


@pytest.fixture
def healthy(tmp_path: Path, trace_files: TraceFiles) -> str:
    write_shard(tmp_path / "healthy", "vllm", trace_files.decide_verdict())
    return str(tmp_path / "healthy")


@pytest.fixture
def ill(tmp_path: Path, trace_files: TraceFiles) -> str:
    trace_files.write(trace_files.tested, make_trace(prompt="other"))
    write_shard(tmp_path / "ill", "lmdeploy", trace_files.decide_verdict())
    return str(tmp_path / "ill")


# report


def test_one_report_from_several_runs(
    healthy: str, ill: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", healthy, ill, "--out", str(tmp_path / "out")]) == FAILED
    assert [shard.name for shard in load_run(tmp_path / "out").shards] == ["lmdeploy", "vllm"]
    assert (tmp_path / "out" / "index.html").is_file()
    assert "1 of 2 comparisons differs; first at prompt. This run does not pass." in capsys.readouterr().out


def test_a_run_that_passes(healthy: str, tmp_path: Path) -> None:
    assert main(["report", healthy, "--out", str(tmp_path / "out"), "--require-shard", "vllm"]) == PASSED
    assert Path(healthy, "shards", "vllm").exists()


def test_an_expected_part_that_is_missing(
    healthy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--out", str(tmp_path / "out"), "--require-shard", "vllm", "--require-shard", "lmdeploy"]
    assert main(["report", healthy, *arguments]) == FAILED
    assert "Shard lmdeploy is missing: its session wrote nothing.\n" in capsys.readouterr().out


def test_a_part_that_is_incomplete(tmp_path: Path, trace_files: TraceFiles) -> None:
    write_shard(tmp_path / "run", "vllm", trace_files.decide_verdict(), expected=2)
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "out")]) == FAILED


def test_parts_are_moved_on_request(healthy: str, tmp_path: Path) -> None:
    assert main(["report", healthy, "--out", str(tmp_path / "out"), "--move-shards"]) == PASSED
    assert not Path(healthy, "shards", "vllm").exists()


def test_by_default_a_report_gets_a_folder_named_after_the_time(
    healthy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vlm_parity.cli.report.format_timestamp", lambda: "20260301-090000")
    assert main(["report", healthy]) == PASSED
    assert (tmp_path / "reports" / "latest").resolve().name == "20260301-090000"


def test_a_run_that_does_not_exist_does_not_pass(tmp_path: Path) -> None:
    assert main(["report", str(tmp_path / "missing"), "--out", str(tmp_path / "out")]) != PASSED


# cases


def test_cases_are_listed_with_what_they_catch(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cases", str(CASES)]) == PASSED
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(list(CASES.glob("*.yaml")))
    assert [line.split()[:3] for line in lines if line.startswith("video_and_image ")] == [
        ["video_and_image", "video+image", "Catches"],
    ]
    assert [line.split()[1] for line in lines if line.startswith("text_only ")] == ["text"]


def test_a_bad_case_is_told_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(CASES / "text_only.yaml", tmp_path)
    (tmp_path / "bad.yaml").write_text("summary: s\nmessages: []\n")
    assert main(["cases", str(tmp_path)]) == FAILED
    output = capsys.readouterr()
    assert output.err.startswith(f"{tmp_path / 'bad.yaml'}:2: messages: ")
    assert output.out == ""


# models


def test_models_are_listed_and_what_is_not_pinned_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["models", "--model-list", str(CASES.parent / "models.toml")]) == PASSED
    output = capsys.readouterr().out
    assert "Qwen/Qwen2-VL-2B-Instruct" in output
    assert "NOT PINNED" in output


def test_a_model_list_that_is_not_there_is_wrong_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "--model-list", str(tmp_path / "missing.toml")]) == USAGE
    assert "missing.toml" in capsys.readouterr().err


# cache


def test_the_cache_is_shown_and_emptied(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cache / "reference" / "trace").mkdir(parents=True)
    (cache / "reference" / "trace" / "tensors").write_bytes(bytes(20_000_000))
    assert main(["cache"]) == PASSED
    assert capsys.readouterr().out == f"    0.02 GB  {cache / 'reference'}\n{cache}\n"
    assert main(["cache", "--clear"]) == PASSED
    assert capsys.readouterr().out == f"{cache} (empty)\n"
    assert not cache.exists()
    assert main(["cache", "--clear"]) == PASSED


# repair


@pytest.mark.parametrize(
    ("done", "output"), [([], "nothing is broken\n"), (["a: b", "c: d"], "a: b\nc: d\n")]
)
def test_repairs_are_told(
    done: list[str], output: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vlm_parity.python_env.repair.repair_torchvision", lambda: done)
    assert main(["fix-torchvision"]) == PASSED
    assert capsys.readouterr().out == output


# wrong use


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["report"], ["cases", "a", "b"]])
def test_wrong_use(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == USAGE
    assert capsys.readouterr().err.startswith("usage: parity")
