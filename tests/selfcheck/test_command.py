"""The command line of ``parity selfcheck``. No engine is started."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.selfcheck_records import make_fault_row, make_selfcheck
from vlm_parity.cli.main import main
from vlm_parity.schema.record import write_record
from vlm_parity.schema.run_layout import SELFCHECK_RECORD
from vlm_parity.selfcheck.cause_grade import CauseGrade
from vlm_parity.selfcheck.record import SelfcheckRecord
from vlm_parity.selfcheck.run import Selfcheck


def write_shards(run: Path, **shards: SelfcheckRecord) -> Path:
    for name, shard in shards.items():
        write_record(run / "shards" / name / SELFCHECK_RECORD, shard)
    return run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backend", "nope"], "--backend nope: no fault is defined for it; there are: vllm, lmdeploy"),
        (["--backend", "vllm", "--model", "nope"], "--model nope: no such family"),
        (
            ["--backend", "vllm", "--fault", "nope*"],
            "--fault nope*: matches none of the faults; there are:\n  ",
        ),
        (["--report-only", "--run", "nowhere"], "--run nowhere: no such folder"),
        (["--report-only"], "--report-only: name the run folder of the self-check by --run"),
        (["--report-only", "--run", ".", "--quick"], "--report-only starts no engine: --quick has no effect"),
        (["--backend", "vllm", "--model", "gemma3"], "--fault *: no fault of vllm or gemma3 matches; "),
        (["--require-shard", "../x"], "shard '../x': a shard's name is "),
    ],
)
def test_usage_errors_list_the_alternatives(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["selfcheck", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"parity selfcheck: error: {message}")


@pytest.mark.parametrize("option", ["--run", "--markdown"])
def test_output_is_checked_before_an_engine_runs(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Selfcheck, "run", lambda _: pytest.fail("no engine runs"))
    (tmp_path / "file").touch()
    run = ["--run", str(tmp_path / "run")] if option == "--markdown" else []
    arguments = ["--backend", "vllm", *run, option, str(tmp_path / "file" / "x")]
    assert main(["selfcheck", *arguments]) == 2
    assert (
        f"name another {'folder' if option == '--run' else 'file'} with {option}" in capsys.readouterr().err
    )


def test_shards_of_several_environments_are_merged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_shards(
        tmp_path, vllm=make_selfcheck(), lmdeploy=make_selfcheck(make_fault_row(backend="lmdeploy"))
    )
    table = tmp_path / "selfcheck.md"
    assert (
        main(
            [
                "selfcheck",
                "--report-only",
                "--run",
                str(run),
                "--require-shard",
                "vllm",
                "--markdown",
                str(table),
            ]
        )
        == 0
    )
    assert "The self-check passes." in capsys.readouterr().out
    assert len(json.loads((run / SELFCHECK_RECORD).read_text())["faults"]) == 2
    assert "| attention scale off | lmdeploy: qwen2_vl; vllm: qwen2_vl |" in table.read_text()


def test_a_missing_shard_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_shards(tmp_path, vllm=make_selfcheck())
    assert main(["selfcheck", "--report-only", "--run", str(run), "--require-shard", "lmdeploy"]) == 1
    assert "shard lmdeploy is missing" in capsys.readouterr().out


def test_a_failed_check_exits_with_1(tmp_path: Path) -> None:
    run = write_shards(tmp_path, vllm=make_selfcheck(make_fault_row(grade=CauseGrade.WRONG)))
    assert main(["selfcheck", "--report-only", "--run", str(run)]) == 1


def test_a_session_that_ends_between_two_engines_is_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(self: Selfcheck) -> Iterator[SelfcheckRecord]:
        if self._plan.backend == "lmdeploy":
            raise ZeroDivisionError
        yield make_selfcheck().model_copy(update={"finished_engines": 0})
        yield make_selfcheck()

    monkeypatch.setattr(Selfcheck, "run", run)
    monkeypatch.setattr("vlm_parity.selfcheck.command.check_installed", lambda _: None)
    selection = ["selfcheck", "--backend", "vllm", "--backend", "lmdeploy", "--run", str(tmp_path / "run")]
    assert main(selection) != 0
    assert main(["selfcheck", "--report-only", "--run", str(tmp_path / "run")]) != 0


@pytest.mark.parametrize("own", [True, False])
def test_the_exit_code_of_a_session_is_about_its_own_shard(
    own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = make_selfcheck(make_fault_row(grade=CauseGrade.WRONG))
    write_shards(tmp_path, lmdeploy=failed if own else make_selfcheck())
    monkeypatch.setattr(Selfcheck, "run", lambda _: iter([make_selfcheck() if own else failed]))
    monkeypatch.setattr("vlm_parity.selfcheck.command.check_installed", lambda _: None)
    assert main(["selfcheck", "--backend", "vllm", "--run", str(tmp_path)]) == (0 if own else 1)
    assert main(["selfcheck", "--report-only", "--run", str(tmp_path)]) == 1
