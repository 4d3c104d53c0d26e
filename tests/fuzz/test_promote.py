"""The command ``parity promote``."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlm_parity.cli.main import main
from vlm_parity.fuzz.promote import promote_findings
from vlm_parity.schema.case import Case, Message
from vlm_parity.schema.case_file import load_case, load_cases, write_case
from vlm_parity.util.errors import PromotionError
from vlm_parity.util.exit_codes import USAGE

CASE = Case(name="fuzz_prompt_1", summary="Fails.", messages=(Message(role="user", content="\x00"),))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "shards" / "vllm-fuzz" / "cases"
    for name in ("fuzz_prompt_1", "fuzz_error_2"):
        write_case(folder / f"{name}.yaml", CASE, ["Found by the fuzzer.", "parity run --case elsewhere"])
    return tmp_path / "run"


def test_all_cases_of_a_run_are_promoted(run: Path, tmp_path: Path) -> None:
    output_dir = tmp_path / "cases" / "regressions"
    written = promote_findings(run, [], output_dir)
    assert [path.name for path in written] == ["fuzz_error_2.yaml", "fuzz_prompt_1.yaml"]
    assert load_cases(output_dir)["fuzz_prompt_1"].messages == CASE.messages
    text = written[1].read_text(encoding="utf-8")
    assert "# Found by the fuzzer." in text
    assert "elsewhere" not in text
    assert "# parity run --case fuzz_prompt_1" in text


def test_a_single_case_can_be_renamed(run: Path, tmp_path: Path) -> None:
    (written,) = promote_findings(run, ["fuzz_prompt_1"], tmp_path / "into", "typed_nul")
    assert load_case(written).name == "typed_nul"


def test_a_file_can_be_promoted(run: Path, tmp_path: Path) -> None:
    (file,) = run.rglob("fuzz_error_2.yaml")
    assert promote_findings(file, [], tmp_path / "into") == [tmp_path / "into" / "fuzz_error_2.yaml"]


@pytest.mark.parametrize(
    ("names", "rename", "message"),
    [
        (["nobody"], None, "NAME nobody: no such case in .*; there are: fuzz_error_2, fuzz_prompt_1"),
        ([], "one", "--name renames a single case, and 2 are selected"),
        (["fuzz_error_2"], "With-Capitals", "lower case letters"),
    ],
)
def test_usage_errors(run: Path, tmp_path: Path, names: list[str], rename: str | None, message: str) -> None:
    with pytest.raises(PromotionError, match=message):
        promote_findings(run, names, tmp_path / "into", rename)
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize("folder", ["regressions", "conversations"])
def test_nothing_is_overwritten(run: Path, tmp_path: Path, folder: str) -> None:
    existing = tmp_path / "cases" / folder / "fuzz_prompt_1.yaml"
    existing.parent.mkdir(parents=True)
    existing.write_text("mine")
    with pytest.raises(PromotionError, match="exists already"):
        promote_findings(run, [], tmp_path / "cases" / "regressions")
    assert existing.read_text() == "mine"
    assert not (tmp_path / "cases" / "regressions" / "fuzz_error_2.yaml").exists()


def test_the_command_prints_the_new_files(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output_dir = tmp_path / "cases" / "regressions"
    assert main(["promote", str(run), "fuzz_error_2", "--output-dir", str(output_dir)]) == 0
    assert capsys.readouterr().out == f"{output_dir / 'fuzz_error_2.yaml'}\n"
    assert main(["promote", str(tmp_path), "--output-dir", str(output_dir)]) == USAGE
    assert "holds no case" in capsys.readouterr().err
