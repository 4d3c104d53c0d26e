"""The cache of reference traces: found again only where nothing they depend on has changed."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.traces import ARRAYS, PREFILL, make_failed_trace, make_trace
from vlm_parity.backends.base import Settings
from vlm_parity.capture.reference_cache import (
    LIMIT_VARIABLE,
    ReferenceCache,
    copy_arrays,
    is_cacheable,
    trim_cache,
)
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case
from vlm_parity.schema.trace import ARRAY_FILE, RECORD_FILE, Depth, Outcome

CHECKPOINT = Checkpoint("tiny", "tiny", Path("anywhere"), "synthetic", "d")
SETTINGS = Settings(depth=Depth.TOKENS)


def case(text: str = "Hi") -> Case:
    messages = [{"role": "user", "content": text}]
    return Case.model_validate({"name": "one", "summary": "s", "messages": messages})


def kept(size: int, used: float) -> Path:
    """A trace of so many bytes, used last at that time."""
    cache = ReferenceCache(CHECKPOINT, SETTINGS)
    asked = case(f"{used} {size}")
    cache.draft(asked).mkdir(parents=True)
    (cache.draft(asked) / ARRAY_FILE).write_bytes(bytes(size))
    folder = cache.keep(asked)
    os.utime(folder, (used, used))
    return folder


@pytest.mark.usefixtures("cache")
def test_a_trace_is_found_once_it_is_kept() -> None:
    cache = ReferenceCache(CHECKPOINT, SETTINGS)
    assert cache.find(case()) is None
    make_trace("transformers").write(cache.draft(case()), ARRAYS)
    assert cache.find(case()) is None
    folder = cache.keep(case())
    assert ReferenceCache(CHECKPOINT, SETTINGS).find(case()) == make_trace("transformers")
    assert sorted(path.name for path in folder.iterdir()) == [ARRAY_FILE, RECORD_FILE]


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("checkpoint", "settings"),
    [
        ({"digest": "e"}, {}),
        ({}, {"dtype": "bfloat16"}),
        ({}, {"device": "cuda"}),
        ({}, {"depth": Depth.LOGITS}),
        ({}, {"engine_args": {"attn_implementation": "eager"}}),
    ],
)
def test_another_model_or_way_of_running_it_is_another_trace(
    checkpoint: dict[str, Any], settings: dict[str, Any]
) -> None:
    other = ReferenceCache(replace(CHECKPOINT, **checkpoint), replace(SETTINGS, **settings))
    assert other.folder(case()) != ReferenceCache(CHECKPOINT, SETTINGS).folder(case())


@pytest.mark.usefixtures("cache")
def test_another_question_is_another_trace() -> None:
    cache = ReferenceCache(CHECKPOINT, SETTINGS)
    assert len({cache.folder(case(text)) for text in ("Hi", "Ho", "Hi")}) == 2


@pytest.mark.usefixtures("cache")
def test_another_version_of_a_library_is_another_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ReferenceCache(CHECKPOINT, SETTINGS).folder(case())
    monkeypatch.setattr("vlm_parity.capture.environment._version", lambda _: "99.0")
    assert ReferenceCache(CHECKPOINT, SETTINGS).folder(case()) != before


@pytest.mark.usefixtures("cache")
def test_the_longest_sequence_makes_no_other_trace() -> None:
    """It depends on the other cases of a session."""
    longer = ReferenceCache(CHECKPOINT, replace(SETTINGS, max_length=8192))
    assert longer.folder(case()) == ReferenceCache(CHECKPOINT, SETTINGS).folder(case())


@pytest.mark.usefixtures("cache")
def test_the_first_of_two_processes_keeps_its_trace() -> None:
    cache = ReferenceCache(CHECKPOINT, SETTINGS)
    for message in ("first", "second"):
        make_trace("transformers", message=message).write(cache.draft(case()))
        folder = cache.keep(case())
    found = cache.find(case())
    assert found is not None
    assert found.message == "first"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.usefixtures("cache")
def test_a_broken_trace_is_not_found() -> None:
    cache = ReferenceCache(CHECKPOINT, SETTINGS)
    make_trace("transformers").write(cache.draft(case()))
    (cache.keep(case()) / RECORD_FILE).write_text('{"half": ')
    assert cache.find(case()) is None


@pytest.mark.parametrize("outcome", Outcome)
def test_what_may_be_gone_the_next_time_is_not_worth_keeping(outcome: Outcome) -> None:
    found = make_trace() if outcome is Outcome.CAPTURED else make_failed_trace(outcome)
    assert is_cacheable(found) == (outcome in {Outcome.CAPTURED, Outcome.REFUSED})


@pytest.mark.usefixtures("cache")
def test_what_was_used_longest_ago_goes_first() -> None:
    now = time.time()
    oldest, older, newest = (kept(100, now - age) for age in (30, 20, 10))
    assert trim_cache(250) == 100
    assert [folder.exists() for folder in (oldest, older, newest)] == [False, True, True]


@pytest.mark.usefixtures("cache")
def test_finding_a_trace_counts_as_use() -> None:
    long_ago = time.time() - 1000
    cache = ReferenceCache(CHECKPOINT, SETTINGS)
    make_trace("transformers").write(cache.draft(case()))
    folder = cache.keep(case())
    os.utime(folder, (long_ago, long_ago))
    other = kept(1, long_ago + 10)
    cache.find(case())
    size = sum(file.stat().st_size for file in folder.iterdir())
    trim_cache(size)
    assert (folder.exists(), other.exists()) == (True, False)


@pytest.mark.usefixtures("cache")
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(0, 100), max_size=8), limit=st.integers(0, 400))
def test_what_stays_fits_and_was_used_after_what_goes(sizes: list[int], limit: int) -> None:
    trim_cache(-1)
    folders = [kept(size, 1e9 + number) for number, size in enumerate(sizes)]
    freed = trim_cache(limit)
    stays = [folder.exists() for folder in folders]
    assert sum(size for size, stayed in zip(sizes, stays, strict=True) if stayed) == sum(sizes) - freed
    assert sum(sizes) - freed <= limit
    assert stays == sorted(stays)
    if not all(stays):  # no more went than had to
        assert sum(sizes) - freed + sizes[stays.count(False) - 1] > limit


@pytest.mark.usefixtures("cache")
def test_an_abandoned_draft_goes_after_a_day() -> None:
    cache = ReferenceCache(CHECKPOINT, SETTINGS)
    drafts = [cache.draft(case(text)) for text in ("new", "old")]
    for draft, age in zip(drafts, (3600, 25 * 3600), strict=True):
        make_trace("transformers").write(draft)
        os.utime(draft, (time.time() - age,) * 2)
    trim_cache(1e9)
    assert [draft.exists() for draft in drafts] == [True, False]


@pytest.mark.usefixtures("cache")
def test_a_draft_may_be_finished_while_it_is_looked_at() -> None:
    folder = kept(100, time.time())
    finished = folder.with_name("any.1.draft")
    finished.symlink_to("gone")  # listed, and not there when it is asked for its age
    assert (trim_cache(1e9), folder.exists()) == (0, True)


@pytest.mark.usefixtures("cache")
def test_the_limit_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = kept(2000, time.time())
    monkeypatch.setenv(LIMIT_VARIABLE, "0.000003")
    assert (trim_cache(), folder.exists()) == (0, True)
    monkeypatch.setenv(LIMIT_VARIABLE, "0.000001")
    assert (trim_cache(), folder.exists()) == (2000, False)


@pytest.mark.usefixtures("cache")
def test_an_empty_cache_has_nothing_to_throw_away() -> None:
    assert trim_cache(0) == 0


def test_arrays_are_copied_for_what_a_user_changes_is_his_own(tmp_path: Path) -> None:
    make_trace().write(tmp_path / "a", ARRAYS)
    make_trace().write(tmp_path / "b", {"prefill": PREFILL[:1]})
    copy_arrays(tmp_path / "a", tmp_path / "b")
    source, copy = tmp_path / "a" / ARRAY_FILE, tmp_path / "b" / ARRAY_FILE
    assert copy.read_bytes() == source.read_bytes()
    assert not copy.samefile(source)
