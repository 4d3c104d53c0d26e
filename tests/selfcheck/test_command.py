"""``parity selfcheck``, as somebody who types it meets it. No engine is started."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.selfcheck_records import make_fault_row, make_selfcheck
from vlm_parity.cli.main import main
from vlm_parity.schema.record import write_record
from vlm_parity.selfcheck.record import SELFCHECK_FILE, SelfcheckRecord


def written(run: Path, **parts: SelfcheckRecord) -> Path:
    for name, part in parts.items():
        write_record(run / "shards" / name / SELFCHECK_FILE, part)
    return run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--backend", "nope"], "--backend nope: no fault is known for it"),
        (["--backend", "vllm", "--model", "nope"], "--model nope: there is no such family"),
        (["--backend", "vllm", "--fault", "nope*"], "--fault nope*: fits none of:"),
        (["--report-only", "--run", "nowhere"], "nowhere: holds no self-check"),
    ],
)
def test_wrong_use_says_what_would_fit(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["selfcheck", *arguments]) == 2
    assert capsys.readouterr().err.startswith(said)


def test_parts_of_several_environments_are_joined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = written(
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
    assert len(json.loads((run / SELFCHECK_FILE).read_text())["faults"]) == 2
    assert "| attention scale off | lmdeploy: qwen2_vl; vllm: qwen2_vl |" in table.read_text()


def test_a_part_that_is_missing_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = written(tmp_path, vllm=make_selfcheck())
    assert main(["selfcheck", "--report-only", "--run", str(run), "--require-shard", "lmdeploy"]) == 1
    assert "part lmdeploy is missing" in capsys.readouterr().out


def test_a_check_that_fails_ends_with_1(tmp_path: Path) -> None:
    run = written(tmp_path, vllm=make_selfcheck(make_fault_row(is_cause_correct=False)))
    assert main(["selfcheck", "--report-only", "--run", str(run)]) == 1
