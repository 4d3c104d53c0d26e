"""``parity store``, and baselines from the store, on run folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

from tests.support.traces import ARRAYS, FEATURES, TraceFiles, make_trace, write_shard
from vlm_parity.cli.main import main
from vlm_parity.store import location
from vlm_parity.util.environment_variables import STORE_VARIABLE
from vlm_parity.util.exit_codes import FAILED, NOT_COMPARED, PASSED, USAGE


@pytest.fixture
def runs(tmp_path: Path, trace_files: TraceFiles, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a run that matches and a later one that differs; enter their folder, with a store named."""
    write_shard(tmp_path / "good", "vllm", trace_files.decide_verdict())
    trace_files.write(trace_files.tested, make_trace(), {**ARRAYS, "vision": FEATURES * 1.02})
    write_shard(tmp_path / "bad", "vllm", trace_files.decide_verdict())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "own.sqlite"))
    return tmp_path


def test_import_list_and_show(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "import", "good", "bad", "--branch", "main"]) == PASSED
    assert capsys.readouterr().out == "good: 1 comparisons; vllm added\nbad: 1 comparisons; vllm added\n"
    assert main(["store", "import", "good", "--release", "0.18.0"]) == PASSED
    assert capsys.readouterr().out == "good: 1 comparisons; vllm unchanged\n"
    assert main(["store", "list"]) == PASSED
    first, second = (line for line in capsys.readouterr().out.splitlines() if line.startswith("│"))
    assert first.split("│")[1].strip() == "bad"
    assert first.split()[-2] == "fails"
    assert [cell.strip() for cell in second.split("│")[1:3]] == ["good", "0.18.0"]
    assert main(["store", "show", "bad"]) == PASSED
    output = " ".join(capsys.readouterr().out.split())
    assert "Run bad does not pass; branch main; started" in output
    assert f"evidence in {runs / 'bad'}" in output
    assert "1 comparisons: 1 mismatch" in output


@pytest.mark.parametrize("prefix", ["", "artifact/"])
@pytest.mark.usefixtures("runs")
def test_an_archive_is_the_same_run(prefix: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "import", "good"]) == PASSED
    shutil.copytree("good", f"zipped/{prefix}")
    shutil.make_archive("good", "zip", "zipped")
    capsys.readouterr()
    assert main(["store", "import", "good.zip"]) == PASSED
    assert capsys.readouterr().out == "good: 1 comparisons; vllm unchanged\n"


def test_a_run_that_the_store_alone_holds_is_a_baseline(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["store", "import", "good", "--release", "0.18.0"]) == PASSED
    shutil.rmtree("good")
    capsys.readouterr()
    for baseline in ("last", "last-green", "0.18.0", "good"):
        assert main(["compare", "bad", "--baseline", baseline, "--json", "changes.json"]) == FAILED
        output = capsys.readouterr().out
        assert output.startswith("1 comparison: 1 new difference; 1 of them worse than in the baseline.\n")
        note = " ".join(output.split())
        assert "baseline good, release 0.18.0, started 20" in note
        assert f"from store {runs / 'own.sqlite'}" in note
        described = json.loads(Path("changes.json").read_text())["baseline"]
        assert (described["name"], described["release"]) == ("good", "0.18.0")
        assert main(["gate", "bad", "--baseline", baseline]) == FAILED
        assert capsys.readouterr().out.startswith("The gate fails: new difference: vision (")


@pytest.mark.parametrize(("run", "baseline"), [("bad", "good"), ("good", "bad"), ("bad", "bad")])
def test_a_folder_and_the_store_give_the_same_result(runs: Path, run: str, baseline: str) -> None:
    assert main(["store", "import", baseline, "--release", "0.18.0"]) == PASSED
    documents = []
    for name in (baseline, "0.18.0"):
        main(["gate", run, "--baseline", name, "--json", "gate.json"])
        document = json.loads((runs / "gate.json").read_text())
        del document["comparison"]["baseline"]
        documents.append(document)
    assert documents[0] == documents[1]


def test_a_folder_is_preferred_to_the_store(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "import", "good"]) == PASSED
    shutil.copytree("bad", "last")
    capsys.readouterr()
    assert main(["compare", "bad", "--baseline", "last"]) == PASSED
    assert f"from folder {runs / 'last'}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.usefixtures("runs")
def test_prune_states_what_it_would_delete(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "import", "good", "bad"]) == PASSED
    capsys.readouterr()
    assert main(["store", "prune", "--keep-last", "1"]) == PASSED
    assert capsys.readouterr().out.endswith("1 run would be deleted; --yes deletes it.\n")
    assert main(["store", "prune", "--keep-last", "1", "--yes"]) == PASSED
    output = capsys.readouterr().out
    assert "good" in output
    assert output.endswith("1 run deleted.\n")
    assert main(["store", "prune", "--keep-last", "1", "--yes"]) == PASSED
    assert capsys.readouterr().out == "0 runs deleted.\n"


@pytest.mark.usefixtures("runs")
def test_a_report_is_stored(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "good", "--out", "merged", "--store", "merged.sqlite"]) == PASSED
    capsys.readouterr()
    assert main(["store", "show", "merged", "--store", "merged.sqlite"]) == PASSED
    assert capsys.readouterr().out.startswith("Run merged passes;")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("store list", USAGE, "own.sqlite: no such file; `parity store import RUN` creates it"),
        ("store import nope", USAGE, "RUN nope: no such folder"),
        ("store import empty", USAGE, "RUN empty: the run holds no shard"),
        ("store import text.zip", USAGE, "RUN text.zip: cannot be unpacked: File is not a zip file"),
        ("store import good --store empty", USAGE, "empty: is a folder, not a file"),
        ("store list --store mysql://x/y", USAGE, "no such database; there are: sqlite, postgresql"),
        (
            "store list --store postgresql://127.0.0.1:9/x",
            NOT_COMPARED,
            "store postgresql://127.0.0.1:9/x: ",
        ),
        ("store list --store text.zip", NOT_COMPARED, "text.zip: file is not a database"),
        ("store prune", USAGE, "name the runs to keep, by --keep-last N, --older-than DAYS or both"),
        ("gate good --baseline last", USAGE, "--baseline last: no such folder; store"),
        ("gate good --baseline ./last", USAGE, "--baseline last: no such folder"),
        ("report good --store empty", USAGE, "is a folder, not a file"),
    ],
)
def test_errors(runs: Path, words: str, code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    (runs / "empty").mkdir()
    (runs / "text.zip").write_text("text " * 100)
    assert main(words.split()) == code
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("runs")
def test_without_the_optional_packages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(location, "find_spec", lambda _: None)
    for command in (["store", "list"], ["gate", "bad", "--baseline", "last"], ["store", "import", "good"]):
        assert main(command) == USAGE
        assert "pip install 'vlm-parity[store]'" in capsys.readouterr().err
    assert main(["gate", "bad", "--baseline", "./good"]) == FAILED, "folders need no store"
