"""Decisions on single examples, with the tiny engine on both sides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from vlm_parity.backends.base import Settings
from vlm_parity.fuzz.frontends import Frontend, FrontendPair
from vlm_parity.fuzz.oracle import BATCH_CASES, NOT_REPEATABLE, Oracle
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case, Message
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.verdict import VerdictKind

CHECKPOINT = Checkpoint("tiny", "tiny", Path(), "synthetic", "0")
SETTINGS = Settings(depth=Depth.TOKENS)
CASE = Case(name="one", summary="s", messages=(Message(role="user", content="Hi"),), depth="tokens")


@contextmanager
def open_oracle(backend: str, folder: Path, orders: dict[str, str]) -> Iterator[Oracle]:
    tested = replace(SETTINGS, engine_args=orders)
    pair = FrontendPair(
        Frontend(backend, CHECKPOINT, SETTINGS, folder / "reference.log", 60, 60),
        Frontend(backend, CHECKPOINT, tested, folder / "tested.log", 60, 60),
        folder / "scratch",
    )
    try:
        yield Oracle(pair, CHECKPOINT, {})
    finally:
        pair.kill()


def test_an_example_that_repeats_itself_passes(tiny_engine: str, tmp_path: Path) -> None:
    with open_oracle(tiny_engine, tmp_path, {}) as oracle:
        verdict, key = oracle.examine(CASE, repeated=True)
    assert (verdict.kind, key) == (VerdictKind.MATCH, None)


@pytest.mark.parametrize("other", BATCH_CASES, ids=lambda case: case.name)
@pytest.mark.parametrize(
    ("order", "kind"), [("die", VerdictKind.CRASH), ("confuse the harness", VerdictKind.HARNESS_ERROR)]
)
def test_a_child_that_ends_before_the_repetition_is_a_finding(
    tiny_engine: str, tmp_path: Path, other: Case, order: str, kind: VerdictKind
) -> None:
    with open_oracle(tiny_engine, tmp_path, {f"inputs {other.name}": order}) as oracle:
        verdict, key = oracle.examine(CASE, repeated=True)
    assert verdict.kind is kind
    assert verdict.reason.startswith(f"on the case {other.name}, after this one: ")
    assert key is not None
    assert key.failed_property == NOT_REPEATABLE
