"""``parity bisect``, ``parity history`` and ``parity replay`` as commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_line import run_command
from vlm_parity.releases import arguments, history, package_index
from vlm_parity.releases.answer import ReleaseAnswer
from vlm_parity.releases.environment import LogLine
from vlm_parity.releases.query import ReleaseQuery
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import VerdictKind
from vlm_parity.util.exit_codes import FAILED, NOT_COMPARED, PASSED, USAGE

WRONG_UNTIL, NOT_INSTALLABLE = "1.3", "1.1"
FIRST_ID = 76
RELEASES = ["1.0", "1.1", "1.2", "1.3", "1.4", "1.5", "1.6"]
Command = Callable[..., int]
REPLAY = """\
title: The last id is another one.
upstream: [https://example.org/issues/1]
backend: tiny_engine
model: MODEL
case: one_image
stage: input_ids
cause: CAUSE
releases: {1.2.0: buggy, 1.3.0: fixed}
values:
  "input_ids[0:3]": {reference: [FIRST, 111, 111], 1.2.0: [76, 111, 111]}
  "input_ids[-1:]": {reference: 46, 1.2.0: 47, 1.3.0: [46]}
"""


def answers(query: ReleaseQuery, release: str, run: Path, shard: str, log: LogLine) -> list[ReleaseAnswer]:
    log(f"asking {release}")
    assert run.is_dir()
    template = ReleaseAnswer(
        backend=query.backend, release=release, model="tiny", case="one_image", shard=shard
    )
    if release == NOT_INSTALLABLE:
        return [template.model_copy(update={"problem": "no wheel"})]
    is_wrong = release < WRONG_UNTIL
    kind = VerdictKind.MISMATCH if is_wrong else VerdictKind.MATCH
    return [template.model_copy(update={"kind": kind, "stage": Stage.INPUT_IDS if is_wrong else None})]


@pytest.fixture
def command(
    engine: str, model: Path, tests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Return ``parity bisect`` and ``history``; release 1.1 has no verdict, 1.3 is the first match."""
    for module in (arguments, package_index):
        monkeypatch.setattr(module, "list_published_releases", lambda *_, **__: RELEASES)
    monkeypatch.setattr(history, "run_release", answers)
    monkeypatch.setenv("COLUMNS", "200")

    def run(name: str, *words: str) -> int:
        named = ("--backend", engine, "--model", str(model), "--case", "one_image")
        return run_command(name, *named, "--suite", str(tests), "--run", str(tmp_path / "run"), *words)

    return run


def test_the_release_that_fixed_it(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("bisect", "--from", "1.0", "--to", "1.6") == PASSED
    output = capsys.readouterr().out
    assert "1.3 is the release in which it changed: mismatch at input_ids" in output
    written = json.loads((tmp_path / "run" / "history.json").read_text())
    assert [answer["release"] for answer in written["answers"]] == ["1.0", "1.6", "1.3", "1.1", "1.2"]
    page = (tmp_path / "run" / "history.html").read_text()
    assert "changed here" in page
    assert "not run" in page


def test_good_and_bad_name_the_ends_too(command: Command) -> None:
    assert command("bisect", "--good", "1.4", "--bad", "1.2") == PASSED


def test_a_good_one_that_is_not_good_is_no_success(command: Command) -> None:
    assert command("bisect", "--good", "1.2", "--bad", "1.4") == FAILED


def test_nothing_to_find(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("bisect", "--from", "1.3", "--to", "1.6") == FAILED
    assert "1.3 and 1.6 have the same outcome: match" in capsys.readouterr().out


def test_an_end_that_cannot_be_asked(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("bisect", "--from", "1.1", "--to", "1.6") == NOT_COMPARED
    assert "1.1 could not be run, so there is nothing to compare with" in capsys.readouterr().out


def test_a_history_asks_every_release(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("history", "--releases", "1.4,1.2,1.0") == PASSED
    assert "3 of 3 releases of tiny_engine run on " in capsys.readouterr().out
    written = json.loads((tmp_path / "run" / "history.json").read_text())
    assert written["releases"] == ["1.0", "1.2", "1.4"]


def test_a_history_with_a_hole_says_so(command: Command, tmp_path: Path) -> None:
    assert command("history", "--from", "1.0", "--to", "1.2") == NOT_COMPARED
    assert "could not be run" in (tmp_path / "run" / "history.html").read_text()


def test_folders_are_checked_before_a_release_runs(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(history, "run_release", lambda *_: pytest.fail("no release runs"))
    assert command("history", "--releases", "1.4", "--run", str(tmp_path / "file")) == USAGE
    assert (
        f"--run {tmp_path / 'file'}: {tmp_path / 'file'} is a file, not a folder: " in capsys.readouterr().err
    )
    monkeypatch.setenv("VLM_PARITY_CACHE", str(tmp_path / "file"))
    assert command("history", "--releases", "1.4") == USAGE
    assert f"{tmp_path / 'file'}: the cache cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", "1.0"), "name both ends"),
        (("--from", "1.0", "--to", "1.6", "--good", "1.2", "--bad", "1.3"), "name both ends"),
        (("--from", "1.0", "--to", "newest"), "'newest' is not a version"),
        (("--from", "1.0", "--to", "1.6", "--pin", "numpy"), "argument --pin: 'numpy' must be NAME=VERSION"),
        (("--from", "1.0", "--to", "1.6", "--vary", "transformers"), "--vary and --release belong together"),
        (
            ("--from", "1.0", "--to", "1.6", "--case", "images"),
            "--case images: matches none of the cases; did you mean one_image?",
        ),
        (("--from", "1.0", "--to", "1.6", "--model", "no-model"), "--model no-model: neither a family"),
        (("--from", "1.0", "--to", "1.6", "--backend", "vlm"), "--backend vlm: no such backend"),
    ],
)
def test_usage_errors(
    command: Command, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("bisect", *arguments) == USAGE
    assert said in capsys.readouterr().err


@pytest.fixture
def replay(engine: str, model: Path, tests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    assert engine
    monkeypatch.setenv("COLUMNS", "200")
    (tests / "replays").mkdir()

    def run(*arguments: str, cause: str = "''", first: int = FIRST_ID) -> int:
        text = REPLAY.replace("MODEL", str(model)).replace("CAUSE", cause).replace("FIRST", str(first))
        (tests / "replays" / "last_id.yaml").write_text(text)
        return run_command("replay", "--suite", str(tests), "--run", str(tmp_path / "run"), *arguments)

    return run


def test_a_bug_that_replays(replay: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay() == PASSED
    output = capsys.readouterr().out
    assert "1.2.0 yes" in output
    assert "1 of 1 bugs replay: 1 of 1 buggy releases flagged, 1 at the right stage" in output
    assert output.rstrip().endswith("This passes.")
    page = (tmp_path / "run" / "replays.html").read_text()
    assert "passes</span>" in page
    assert 'href="cases/' in page


def test_another_cause_does_not_pass(replay: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(cause="BOS token doubled") == FAILED
    assert "1.2.0 NO: " in capsys.readouterr().out


def test_a_value_that_is_another_one_does_not_pass(
    replay: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(first=77) == FAILED
    assert "input_ids[0:3] in reference: expected 77, 111, 111, found 76, 111, 111" in capsys.readouterr().out


def test_a_replay_that_is_not_there(replay: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay("first_id") == USAGE
    assert "NAME first_id: matches none of the replays; " in capsys.readouterr().err


def test_they_can_be_listed(replay: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay("--list") == PASSED
    assert "last_id" in capsys.readouterr().out
