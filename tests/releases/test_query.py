"""Runs of one release, in a pytest session of its own; a release that cannot be run has an answer, too."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from vlm_parity.releases import query as ask
from vlm_parity.releases.answer import ReleaseAnswer
from vlm_parity.releases.query import ReleaseQuery, run_release
from vlm_parity.schema.manifest import write_manifest
from vlm_parity.schema.record import read_record, write_record
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Verdict, VerdictKind


@pytest.fixture
def query(engine: str, model: Path, tests: Path) -> ReleaseQuery:
    return ReleaseQuery(engine, str(model), model, ("one_image",), tests / "conversations", tests)


def run_query(query: ReleaseQuery, release: str, run: Path) -> ReleaseAnswer:
    (answer,) = run_release(query, release, run, f"engine-{release}", lambda _: None)
    return answer


def test_what_agrees(query: ReleaseQuery, tmp_path: Path) -> None:
    answer = run_query(query, "1.4", tmp_path / "run")
    assert answer.kind is VerdictKind.MATCH
    assert answer.requirements == ("tiny-engine==1.4",)
    assert (answer.built_seconds, answer.environment_bytes) == (2.0, 1000)
    assert "numpy" in answer.packages
    assert (tmp_path / "run" / "shards" / "engine-1.4" / "shard.json").is_file()
    assert not (tmp_path / "run" / "work" / "engine-1.4").exists()


def test_what_differs_says_where(query: ReleaseQuery, tmp_path: Path) -> None:
    answer = run_query(query, "1.2", tmp_path / "run")
    assert (answer.kind, answer.stage) == (VerdictKind.MISMATCH, Stage.INPUT_IDS)
    assert answer.outcome_text.startswith("mismatch at input_ids")


def test_what_contradicts_itself_is_no_verdict(
    query: ReleaseQuery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_pytest = ask._run_pytest

    def forge(*arguments: Any) -> str:
        result = run_pytest(*arguments)
        (path,) = (tmp_path / "run").glob("shards/*/verdicts/**/*.json")
        verdict = read_record(path, Verdict)
        write_record(path, verdict.model_copy(update={"kind": VerdictKind.MATCH, "reason": ""}))
        return result

    monkeypatch.setattr(ask, "_run_pytest", forge)
    answer = run_query(query, "1.2", tmp_path / "run")
    assert not answer.has_verdict
    assert "is a match with a stage that mismatches" in answer.problem


def test_media_in_a_root(query: ReleaseQuery, tests: Path, tmp_path: Path) -> None:
    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    case = tests / "conversations" / "one_image.yaml"
    content = f"[{{image: {{file: {tmp_path / 'photo.png'}}}}}, {{text: Hi}}]"
    case.write_text(f"summary: s\nmessages:\n- {{role: user, content: {content}}}\n")
    assert "lies outside of the case's folder" in run_query(query, "1.4", tmp_path / "run").problem
    answer = run_query(replace(query, media_roots=(tmp_path,)), "1.4", tmp_path / "run")
    assert answer.kind is VerdictKind.MATCH


def test_an_environment_that_cannot_be_built(query: ReleaseQuery, tmp_path: Path) -> None:
    answer = run_query(query, "1.1", tmp_path / "run")
    assert answer.kind is None
    assert not answer.has_verdict
    assert answer.problem.endswith("could not be built: no wheel")


def test_unsupported_release_has_no_verdict(query: ReleaseQuery, tmp_path: Path) -> None:
    assert "supports >=1.0" in run_query(query, "0.9", tmp_path / "run").problem


def test_a_release_does_not_run_on_damaged_files(query: ReleaseQuery, tmp_path: Path, cache: Path) -> None:
    folder = shutil.copytree(query.folder, cache / "legacy" / "key" / "tiny")
    write_manifest(folder)
    cached = replace(query, folder=folder)
    assert run_query(cached, "1.4", tmp_path / "run").kind is VerdictKind.MATCH
    (folder / "tokenizer.json").unlink()
    answer = run_query(cached, "1.5", tmp_path / "run")
    assert answer.kind is None
    assert "tokenizer.json: missing, although manifest.json lists it" in answer.problem


def test_a_session_that_does_not_come_to_its_end(query: ReleaseQuery, tmp_path: Path, tests: Path) -> None:
    (tests / "test_stages.py").write_text("import no_such_module\n")
    problem = run_query(query, "1.4", tmp_path / "run").problem
    assert problem.startswith("pytest ended with exit code 3")
    assert "no_such_module" in (tmp_path / "run" / "logs" / "engine-1.4.log").read_text()
