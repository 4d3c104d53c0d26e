"""The two children: what dies is found out, and another goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vlm_parity.backends.base import Settings
from vlm_parity.fuzz.frontends import Frontend, FrontendLoadError, FrontendPair, build_settings
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case, Message
from vlm_parity.schema.trace import Depth, Outcome

CHECKPOINT = Checkpoint("tiny", "tiny", Path(), "synthetic", "0")
SETTINGS = Settings(depth=Depth.TOKENS)


def case(name: str) -> Case:
    return Case(name=name, summary="s", messages=(Message(role="user", content="Hi"),), depth="tokens")


@contextmanager
def front(backend: str, folder: Path, timeout: float = 60) -> Iterator[FrontendPair]:
    sides = (
        Frontend(backend, CHECKPOINT, SETTINGS, folder / f"{name}.log", 60, timeout)
        for name in ("one", "two")
    )
    opened = FrontendPair(*sides, folder / "scratch")
    try:
        yield opened
    finally:
        opened.kill()


def test_both_sides_answer(tiny_engine: str, tmp_path: Path) -> None:
    with front(tiny_engine, tmp_path) as asked:
        asked.load()
        for name in ("one", "two"):
            reference, tested = asked.capture_both(case(name))
            assert reference.trace.input_ids == tested.trace.input_ids == tuple(b"Hi")
        assert asked.capture_again(case("one")).trace.input_ids == tuple(b"Hi")
        assert len(list((tmp_path / "scratch").iterdir())) == 3


def test_a_death_is_an_answer_and_another_child_goes_on(
    tiny_engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_ENGINE", json.dumps({"inputs bad": "die"}))
    with front(tiny_engine, tmp_path) as asked:
        _, tested = asked.capture_both(case("bad"))
        assert tested.trace.outcome is Outcome.CRASH
        assert "killed by SIGKILL" in tested.trace.message
        _, tested = asked.capture_both(case("good"))
        assert tested.trace.outcome is Outcome.CAPTURED
        assert asked.tested.loads == 2


def test_a_hang_is_a_crash(tiny_engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_ENGINE", json.dumps({"inputs bad": "hang"}))
    with front(tiny_engine, tmp_path, timeout=1) as asked:
        reference, tested = asked.capture_both(case("bad"))
        assert {reference.trace.outcome, tested.trace.outcome} == {Outcome.CRASH}
        assert "no answer within 1 s" in tested.trace.message


def test_what_does_not_load_says_why(
    tiny_engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_ENGINE", json.dumps({"load": "say no"}))
    with (
        front(tiny_engine, tmp_path) as asked,
        pytest.raises(FrontendLoadError, match="load: not served") as caught,
    ):
        asked.load()
    assert caught.value.outcome is Outcome.UNSUPPORTED


@pytest.mark.parametrize(
    ("config", "longest"),
    [
        ({"text_config": {"max_position_embeddings": 2048}}, 2048),
        ({"thinker_config": {"text_config": {"max_position_embeddings": 99999}}}, 32768),
        ({}, 32768),
    ],
)
def test_prompts_may_be_as_long_as_the_model_takes(
    tmp_path: Path, config: dict[str, object], longest: int
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = build_settings(Checkpoint("m", "f", tmp_path, "s", "0"), Settings())
    assert (found.max_length, found.depth) == (longest, Depth.TOKENS)
