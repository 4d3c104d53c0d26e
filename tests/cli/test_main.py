"""The ``parity`` command: its output and its exit codes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.hostile_text import HOSTILE, find_terminal_dangers
from tests.support.traces import TraceFiles, make_trace, write_shard
from vlm_parity.cli import cases
from vlm_parity.cli.main import main
from vlm_parity.releases.lock_check import NewerRelease
from vlm_parity.report.load_run import load_run
from vlm_parity.schema.run import Lock
from vlm_parity.util.errors import RecordError, UsageError
from vlm_parity.util.exit_codes import FAILED, NOT_COMPARED, PASSED, USAGE

CASES = Path(__file__).parents[2] / "cases" / "conversations"


@pytest.fixture
def matching(tmp_path: Path, trace_files: TraceFiles) -> str:
    write_shard(tmp_path / "matching", "vllm", trace_files.decide_verdict())
    return str(tmp_path / "matching")


@pytest.fixture
def mismatching(tmp_path: Path, trace_files: TraceFiles) -> str:
    trace_files.write(trace_files.tested, make_trace(prompt="other"))
    write_shard(tmp_path / "mismatching", "lmdeploy", trace_files.decide_verdict())
    return str(tmp_path / "mismatching")


# report


def test_one_report_from_several_runs(
    matching: str, mismatching: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", matching, mismatching, "--out", str(tmp_path / "out")]) == FAILED
    assert [shard.name for shard in load_run(tmp_path / "out").shards] == ["lmdeploy", "vllm"]
    assert (tmp_path / "out" / "index.html").is_file()
    assert "1 of 2 comparisons differs; first at prompt. This run does not pass." in capsys.readouterr().out


def test_a_run_that_passes(matching: str, tmp_path: Path) -> None:
    assert main(["report", matching, "--out", str(tmp_path / "out"), "--require-shard", "vllm"]) == PASSED
    assert Path(matching, "shards", "vllm").exists()


def test_missing_required_shard_fails(
    matching: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--out", str(tmp_path / "out"), "--require-shard", "vllm", "--require-shard", "lmdeploy"]
    assert main(["report", matching, *arguments]) == FAILED
    assert "Shard lmdeploy is missing: its session wrote nothing.\n" in capsys.readouterr().out


def test_incomplete_shard_fails(tmp_path: Path, trace_files: TraceFiles) -> None:
    write_shard(tmp_path / "run", "vllm", trace_files.decide_verdict(), expected=2)
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "out")]) == FAILED


def test_shards_are_moved_on_request(matching: str, tmp_path: Path) -> None:
    assert main(["report", matching, "--out", str(tmp_path / "out"), "--move-shards"]) == PASSED
    assert not Path(matching, "shards", "vllm").exists()


def test_by_default_a_report_gets_a_folder_named_after_the_time(
    matching: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vlm_parity.cli.report.format_timestamp", lambda: "20260301-090000")
    assert main(["report", matching]) == PASSED
    assert (tmp_path / "reports" / "latest").resolve().name == "20260301-090000"


def test_missing_run_fails(tmp_path: Path) -> None:
    assert main(["report", str(tmp_path / "missing"), "--out", str(tmp_path / "out")]) != PASSED


# Checked before anything else


@pytest.mark.parametrize("command", [["cache"], ["check", "qwen2_vl"], ["report", "gone"], ["run"]])
def test_environment_variables_are_checked(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VLM_PARITY_CACHE_GB", "abc")
    if command == ["run"]:
        monkeypatch.setenv("PYTEST_ADDOPTS", "'")
    assert main(command) == USAGE
    message = "PYTEST_ADDOPTS" if command == ["run"] else "VLM_PARITY_CACHE_GB='abc': must be a number"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--out", "--matrix"])
def test_output_that_cannot_be_written_is_a_usage_error(
    matching: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    (tmp_path / "file").touch()
    out = [] if option == "--out" else ["--out", str(tmp_path / "out")]
    assert main(["report", matching, *out, option, str(tmp_path / "file" / "x")]) == USAGE
    assert (
        f"name another {'folder' if option == '--out' else 'file'} with {option}" in capsys.readouterr().err
    )
    assert not (tmp_path / "out" / "shards").exists()


def test_a_table_in_place_of_a_folder_is_a_usage_error(matching: str, tmp_path: Path) -> None:
    arguments = ["--out", str(tmp_path / "out"), "--matrix", str(tmp_path)]
    assert main(["report", matching, *arguments]) == USAGE
    assert not (tmp_path / "out" / "shards").exists()


def test_known_issues_are_read_before_shards_are_moved(matching: str, tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("[")
    arguments = ["--out", str(tmp_path / "out"), "--known-issues", str(tmp_path / "broken.toml")]
    assert main(["report", matching, "--move-shards", *arguments]) == USAGE
    assert Path(matching, "shards", "vllm").exists()


def test_a_cache_that_is_a_file_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VLM_PARITY_CACHE", str(tmp_path / "file"))
    for arguments in (["cache"], ["cache", "--clear"]):
        assert main(arguments) == USAGE
        assert f"{tmp_path / 'file'}: the cache is a file" in capsys.readouterr().err


# errors


@pytest.mark.parametrize(
    ("error", "code"),
    [(RuntimeError, NOT_COMPARED), (RecordError, NOT_COMPARED), (UsageError, USAGE), (OSError, NOT_COMPARED)],
)
def test_errors_are_printed_escaped(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: type[Exception],
    code: int,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error(HOSTILE) from ValueError(HOSTILE)

    monkeypatch.setattr(cases, "load_cases", fail)
    assert main(["cases"]) == code
    printed = capsys.readouterr().err
    assert "octocat" in printed
    assert find_terminal_dangers(printed) == []


def test_a_link_keeps_the_report(matching: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", matching, "--out", matching]) == PASSED
    (tmp_path / "other" / "shards").mkdir(parents=True)
    (tmp_path / "other" / "shards" / "linked").symlink_to(tmp_path / "matching" / "shards" / "vllm")
    assert main(["report", str(tmp_path / "other"), "--out", matching]) == USAGE
    assert "linked: a symbolic link, which is not followed" in capsys.readouterr().err
    assert (tmp_path / "matching" / "index.html").exists()


# cases


def test_cases_are_listed_with_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cases", str(CASES)]) == PASSED
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(list(CASES.glob("*.yaml")))
    assert [line.split()[:3] for line in lines if line.startswith("video_and_image ")] == [
        ["video_and_image", "video+image", "Catches"],
    ]
    assert [line.split()[1] for line in lines if line.startswith("text_only ")] == ["text"]


def test_invalid_case_is_reported_with_line_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(CASES / "text_only.yaml", tmp_path)
    (tmp_path / "bad.yaml").write_text("summary: s\nmessages: []\n")
    assert main(["cases", str(tmp_path)]) == FAILED
    output = capsys.readouterr()
    assert output.err.startswith(f"{tmp_path / 'bad.yaml'}:2: messages: ")
    assert output.out == ""


def test_media_of_cases_may_lie_in_a_root(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cases").mkdir()
    content = "[{image: {file: ../photos/a.png}}]"
    case = f"summary: s\nmessages:\n- {{role: user, content: {content}}}\n"
    (tmp_path / "cases" / "photo.yaml").write_text(case)
    arguments = ["cases", str(tmp_path / "cases")]
    assert main(arguments) == FAILED
    assert "photo.yaml:3: messages[0].content[0].image.file: " in capsys.readouterr().err
    with pytest.raises(SystemExit, match=str(USAGE)):
        main([*arguments, "--media-root", str(tmp_path / "photos")])
    assert f"--media-root: {tmp_path}/photos: no such folder" in capsys.readouterr().err
    (tmp_path / "photos").mkdir()
    assert main([*arguments, "--media-root", str(tmp_path / "photos")]) == PASSED


# models


def test_models_are_listed_with_those_not_pinned(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["models", "--model-list", str(CASES.parent / "models.toml")]) == PASSED
    output = capsys.readouterr().out
    assert "Qwen/Qwen2-VL-2B-Instruct" in output
    assert "NOT PINNED" in output


def test_missing_model_list_is_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--model-list", str(tmp_path / "missing.toml")]) == USAGE
    assert "missing.toml" in capsys.readouterr().err


# cache


def test_the_cache_is_shown_and_emptied(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cache / "reference" / "trace").mkdir(parents=True)
    (cache / "reference" / "trace" / "tensors").write_bytes(bytes(20_000_000))
    assert main(["cache"]) == PASSED
    assert capsys.readouterr().out == f"    0.02 GB  {cache / 'reference'}\n{cache}\n"
    (cache / "mine.txt").write_text("of somebody else")
    assert main(["cache", "--clear"]) == PASSED
    assert capsys.readouterr().out == f"{cache} (empty)\n"
    assert [path.name for path in cache.iterdir()] == ["mine.txt"]
    assert main(["cache", "--clear"]) == PASSED


# repair


@pytest.mark.parametrize(
    ("done", "output"), [([], "nothing is broken\n"), (["a: b", "c: d"], "a: b\nc: d\n")]
)
def test_repairs_are_printed(
    done: list[str], output: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vlm_parity.python_env.repair.repair_torchvision", lambda: done)
    assert main(["fix-torchvision"]) == PASSED
    assert capsys.readouterr().out == output


# lock


@pytest.mark.parametrize(
    ("newer", "options", "code"),
    [([], [], PASSED), ([], ["--check"], PASSED), ([NewerRelease("av", "1", "2")], ["--check"], FAILED)],
)
def test_the_lock_and_newer_releases_are_printed(
    newer: list[NewerRelease],
    options: list[str],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lock = Lock(name="vllm", digest="0123456789ab", pins=2)
    monkeypatch.setattr("vlm_parity.session.lock.describe_lock", lambda: lock)
    monkeypatch.setattr("vlm_parity.releases.lock_check.list_newer_releases", lambda: newer)
    assert main(["lock", *options]) == code
    output = capsys.readouterr().out
    assert output.startswith("Lock vllm (2 packages, 0123456789ab): every package as pinned.\n")
    assert ("av: 2 is newer than 1\n" in output) == bool(newer)


def test_an_environment_without_a_lock_is_not_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vlm_parity.session.lock.describe_lock", lambda: None)
    assert main(["lock", "--check"]) == NOT_COMPARED
    assert capsys.readouterr().out.startswith("No lock: ")


# usage errors


def test_unknown_option_of_run_points_to_help_and_separator(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", "--backend", "vllm", "--collect-only"])
    assert caught.value.code == USAGE
    error = capsys.readouterr().err
    assert "no such option: --collect-only; `parity run --help` lists" in error
    assert "after --" in error


def test_run_outside_a_clone_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--backend", "vllm"]) == USAGE
    message = "parity run: error: no folder cases/ here: run in a clone of vlm-parity"
    assert capsys.readouterr().err.startswith(message)


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == PASSED
    assert capsys.readouterr().out.startswith("parity ")


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["report"], ["cases", "a", "b"]])
def test_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == USAGE
    assert capsys.readouterr().err.startswith("usage: parity")
