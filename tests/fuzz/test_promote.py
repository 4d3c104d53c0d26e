"""``parity promote``."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlm_parity.cli.main import USAGE, main
from vlm_parity.fuzz.promote import promote_findings
from vlm_parity.schema.case import Case, Message
from vlm_parity.schema.case_file import load_case, load_cases, write_case
from vlm_parity.util.errors import PromotionError

CASE = Case(name="fuzz_prompt_1", summary="Catches it.", messages=(Message(role="user", content="\x00"),))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "shards" / "vllm-fuzz" / "cases"
    for name in ("fuzz_prompt_1", "fuzz_error_2"):
        write_case(folder / f"{name}.yaml", CASE, ["Found by the fuzzer.", "parity run --case elsewhere"])
    return tmp_path / "run"


def test_all_cases_of_a_run_become_regressions(run: Path, tmp_path: Path) -> None:
    into = tmp_path / "cases" / "regressions"
    written = promote_findings(run, [], into)
    assert [path.name for path in written] == ["fuzz_error_2.yaml", "fuzz_prompt_1.yaml"]
    assert load_cases(into)["fuzz_prompt_1"].messages == CASE.messages
    text = written[1].read_text(encoding="utf-8")
    assert "# Found by the fuzzer." in text
    assert "elsewhere" not in text
    assert "# parity run --case fuzz_prompt_1" in text


def test_one_may_get_another_name(run: Path, tmp_path: Path) -> None:
    (written,) = promote_findings(run, ["fuzz_prompt_1"], tmp_path / "into", "typed_nul")
    assert load_case(written).name == "typed_nul"


def test_a_file_will_do(run: Path, tmp_path: Path) -> None:
    (found,) = run.rglob("fuzz_error_2.yaml")
    assert promote_findings(found, [], tmp_path / "into") == [tmp_path / "into" / "fuzz_error_2.yaml"]


@pytest.mark.parametrize(
    ("names", "rename", "said"),
    [
        (["nobody"], None, "no case nobody; there are: fuzz_error_2, fuzz_prompt_1"),
        ([], "one", "--as names one case, and there are 2"),
        (["fuzz_error_2"], "With-Capitals", "lower case letters"),
    ],
)
def test_wrong_use_is_named(
    run: Path, tmp_path: Path, names: list[str], rename: str | None, said: str
) -> None:
    with pytest.raises(PromotionError, match=said):
        promote_findings(run, names, tmp_path / "into", rename)
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize("folder", ["regressions", "conversations"])
def test_nothing_is_overwritten(run: Path, tmp_path: Path, folder: str) -> None:
    there = tmp_path / "cases" / folder / "fuzz_prompt_1.yaml"
    there.parent.mkdir(parents=True)
    there.write_text("mine")
    with pytest.raises(PromotionError, match="is there already"):
        promote_findings(run, [], tmp_path / "cases" / "regressions")
    assert there.read_text() == "mine"
    assert not (tmp_path / "cases" / "regressions" / "fuzz_error_2.yaml").exists()


def test_the_command_says_what_it_wrote(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    into = tmp_path / "cases" / "regressions"
    assert main(["promote", str(run), "fuzz_error_2", "--output-dir", str(into)]) == 0
    assert capsys.readouterr().out == f"{into / 'fuzz_error_2.yaml'}\n"
    assert main(["promote", str(tmp_path), "--output-dir", str(into)]) == USAGE
    assert "holds no case" in capsys.readouterr().err
