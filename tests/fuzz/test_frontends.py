"""The two children: crashes are recorded, and new children replace them."""

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
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.trace import Outcome

CHECKPOINT = Checkpoint("tiny", "tiny", Path(), "synthetic", "0")
SETTINGS = Settings(depth=Depth.TOKENS)


def make_case(name: str) -> Case:
    return Case(name=name, summary="s", messages=(Message(role="user", content="Hi"),), depth="tokens")


@contextmanager
def open_pair(backend: str, folder: Path, timeout: float = 60) -> Iterator[FrontendPair]:
    reference, tested = (
        Frontend(backend, CHECKPOINT, SETTINGS, folder / f"{name}.log", 60, timeout)
        for name in ("one", "two")
    )
    pair = FrontendPair(reference, tested, folder / "scratch")
    try:
        yield pair
    finally:
        pair.kill()


def test_both_sides_capture_a_case(tiny_engine: str, tmp_path: Path) -> None:
    with open_pair(tiny_engine, tmp_path) as pair:
        pair.load()
        for name in ("one", "two"):
            reference, tested = pair.capture_both(make_case(name))
            assert reference.trace.input_ids == tested.trace.input_ids == tuple(b"Hi")
        assert pair.capture_again(make_case("one")).trace.input_ids == tuple(b"Hi")
        assert len(list((tmp_path / "scratch").iterdir())) == 3


def test_a_crash_is_recorded_and_another_child_continues(
    tiny_engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_ENGINE", json.dumps({"inputs bad": "die"}))
    with open_pair(tiny_engine, tmp_path) as pair:
        _, tested = pair.capture_both(make_case("bad"))
        assert tested.trace.outcome is Outcome.CRASH
        assert "killed by SIGKILL" in tested.trace.message
        _, tested = pair.capture_both(make_case("good"))
        assert tested.trace.outcome is Outcome.CAPTURED
        assert pair.tested.loads == 2


def test_a_timeout_is_a_crash(tiny_engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_ENGINE", json.dumps({"inputs bad": "hang"}))
    with open_pair(tiny_engine, tmp_path, timeout=1) as pair:
        reference, tested = pair.capture_both(make_case("bad"))
        assert {reference.trace.outcome, tested.trace.outcome} == {Outcome.CRASH}
        assert "no answer within 1 s" in tested.trace.message


def test_a_failed_load_has_its_reason(
    tiny_engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_ENGINE", json.dumps({"load": "say no"}))
    with (
        open_pair(tiny_engine, tmp_path) as pair,
        pytest.raises(FrontendLoadError, match="load: not served") as raised,
    ):
        pair.load()
    assert raised.value.outcome is Outcome.UNSUPPORTED


@pytest.mark.parametrize(
    ("config", "max_length"),
    [
        ({"text_config": {"max_position_embeddings": 2048}}, 2048),
        ({"thinker_config": {"text_config": {"max_position_embeddings": 99999}}}, 32768),
        ({}, 32768),
    ],
)
def test_the_prompt_length_is_limited_by_the_model(
    tmp_path: Path, config: dict[str, object], max_length: int
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    settings = build_settings(Checkpoint("m", "f", tmp_path, "s", "0"), Settings())
    assert (settings.max_length, settings.depth) == (max_length, Depth.TOKENS)
