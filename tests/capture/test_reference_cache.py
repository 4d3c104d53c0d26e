"""The cache of reference traces: a hit requires that all dependencies are unchanged."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.traces import ARRAYS, FLOOR, PREFILL, make_failed_trace, make_trace
from vlm_parity.backends.base import Settings
from vlm_parity.capture.cache_lease import LeaseHolder
from vlm_parity.capture.reference_cache import (
    ReferenceCache,
    copy_arrays,
    is_cacheable,
    trim_cache,
)
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.array_sketch import SKETCH_FILE, sketch_arrays, write_sketch
from vlm_parity.schema.case import Case
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.manifest import MANIFEST_FILE
from vlm_parity.schema.noise_floor import FLOOR_FILE, FLOOR_RECORD, get_floor_folder
from vlm_parity.schema.trace import ARRAY_FILE, RECORD_FILE, Outcome
from vlm_parity.util.environment_variables import CACHE_LIMIT_VARIABLE
from vlm_parity.util.errors import DamagedFolderError

CHECKPOINT = Checkpoint("tiny", "tiny", Path("anywhere"), "synthetic", "d")
SETTINGS = Settings(depth=Depth.TOKENS)


def make_case(text: str = "Hi") -> Case:
    messages = [{"role": "user", "content": text}]
    return Case.model_validate({"name": "one", "summary": "s", "messages": messages})


LEASES = LeaseHolder()


@pytest.fixture(autouse=True)
def release_leases() -> Iterator[None]:
    """Let the next test delete what this one has found."""
    yield
    LEASES.release_all()


def open_cache(checkpoint: Checkpoint = CHECKPOINT, settings: Settings = SETTINGS) -> ReferenceCache:
    return ReferenceCache(checkpoint, settings, LEASES)


def add_trace(size: int, used: float) -> Path:
    """Add a trace with arrays of this many bytes, last used at this time, to the cache, and do not use it."""
    cache = open_cache()
    case = make_case(f"{used} {size}")
    cache.draft(case).mkdir(parents=True)
    (cache.draft(case) / ARRAY_FILE).write_bytes(bytes(size))
    folder = cache.store_draft(case)
    (folder / MANIFEST_FILE).unlink()  # its size would count
    LEASES.release_all()
    os.utime(folder, (used, used))
    return folder


def store_trace(**changes: Any) -> Path:
    """Add the handmade trace with its arrays, a sketch and a noise floor, and do not use it."""
    cache = open_cache()
    draft = cache.draft(make_case())
    make_trace("transformers", **changes).write(draft, ARRAYS)
    write_sketch(draft, sketch_arrays(ARRAYS))
    FLOOR.write(get_floor_folder(draft, "float32"))
    folder = cache.store_draft(make_case())
    LEASES.release_all()
    return folder


@pytest.mark.usefixtures("cache")
def test_a_trace_is_found_once_it_is_kept() -> None:
    cache = open_cache()
    assert cache.find(make_case()) is None
    make_trace("transformers").write(cache.draft(make_case()), ARRAYS)
    assert cache.find(make_case()) is None
    folder = cache.store_draft(make_case())
    assert open_cache().find(make_case()) == make_trace("transformers")
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST_FILE, ARRAY_FILE, RECORD_FILE]


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
def test_model_and_settings_are_part_of_the_key(checkpoint: dict[str, Any], settings: dict[str, Any]) -> None:
    other = open_cache(replace(CHECKPOINT, **checkpoint), replace(SETTINGS, **settings))
    assert other.folder(make_case()) != open_cache().folder(make_case())


@pytest.mark.usefixtures("cache")
def test_the_case_is_part_of_the_key() -> None:
    cache = open_cache()
    assert len({cache.folder(make_case(text)) for text in ("Hi", "Ho", "Hi")}) == 2


@pytest.mark.usefixtures("cache")
def test_package_versions_are_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_cache().folder(make_case())
    monkeypatch.setattr("vlm_parity.capture.environment._version", lambda _: "99.0")
    assert open_cache().folder(make_case()) != before


@pytest.mark.usefixtures("cache")
def test_the_maximum_length_is_not_part_of_the_key() -> None:
    """It depends on the other cases of a session."""
    longer = open_cache(settings=replace(SETTINGS, max_length=8192))
    assert longer.folder(make_case()) == open_cache().folder(make_case())


@pytest.mark.usefixtures("cache")
def test_the_first_of_two_processes_keeps_its_trace() -> None:
    cache = open_cache()
    for message in ("first", "second"):
        make_trace("transformers", message=message).write(cache.draft(make_case()), ARRAYS)
        folder = cache.store_draft(make_case())
    trace = cache.find(make_case())
    assert trace is not None
    assert trace.message == "first"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 16
    file.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "deleted": Path.unlink,
    "emptied": lambda file: file.write_bytes(b""),
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "flipped": flip_a_bit,
}
FILES = (RECORD_FILE, ARRAY_FILE, SKETCH_FILE, MANIFEST_FILE)
FLOOR_FILES = (FLOOR_RECORD, FLOOR_FILE, MANIFEST_FILE)


def name_damage(name: str) -> str:
    """Return a pattern of the message: another digest in a manifest shows in the file of that digest."""
    return "manifest[.]json|changed" if name == MANIFEST_FILE else name.replace(".", "[.]")


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_trace_is_named_and_removed(name: str, damage: str) -> None:
    folder = store_trace()
    DAMAGES[damage](folder / name)
    with pytest.raises(DamagedFolderError, match=name_damage(name)):
        open_cache().find(make_case())
    assert list(folder.parent.iterdir()) == []
    assert open_cache().find(make_case()) is None


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FLOOR_FILES)
def test_a_damaged_noise_floor_costs_no_trace(name: str, damage: str) -> None:
    folder = store_trace()
    DAMAGES[damage](get_floor_folder(folder, "float32") / name)
    with pytest.raises(DamagedFolderError, match=name_damage(name)):
        open_cache().has_floor(make_case(), "float32")
    assert not open_cache().has_floor(make_case(), "float32")
    assert open_cache().find(make_case()) is not None


@pytest.mark.usefixtures("cache")
def test_a_file_in_place_of_a_trace_is_named_and_removed() -> None:
    folder = open_cache().folder(make_case())
    folder.parent.mkdir(parents=True)
    folder.touch()
    with pytest.raises(DamagedFolderError, match="not a folder"):
        open_cache().find(make_case())
    assert open_cache().find(make_case()) is None


@pytest.mark.usefixtures("cache")
def test_a_trace_in_use_is_not_deleted() -> None:
    folder = store_trace()
    assert open_cache().find(make_case()) is not None
    assert (trim_cache(0), folder.exists()) == (0, True)
    LEASES.release_all()
    assert (trim_cache(0) > 0, folder.exists()) == (True, False)


@pytest.mark.usefixtures("cache")
def test_a_stored_trace_is_in_use() -> None:
    make_trace("transformers").write(open_cache().draft(make_case()), ARRAYS)
    folder = open_cache().store_draft(make_case())
    assert (trim_cache(0), folder.exists()) == (0, True)


@pytest.mark.usefixtures("cache")
def test_a_trace_that_another_process_uses_is_not_deleted() -> None:
    folder = store_trace()
    code = "import sys; from pathlib import Path; from vlm_parity.capture.cache_lease import LeaseHolder\n"
    code += f"assert LeaseHolder().acquire(Path({str(folder)!r})); print('leased', flush=True); input()"
    command = [sys.executable, "-c", code]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "leased\n"
        assert (trim_cache(0), folder.exists()) == (0, True)
        other.kill()
    assert (trim_cache(0) > 0, folder.exists()) == (True, False)


@pytest.mark.usefixtures("cache")
def test_a_deletion_that_was_cut_off_is_finished() -> None:
    folder = store_trace()
    folder.rename(folder.with_name(f"{folder.name}.1.removed"))
    trim_cache(1e9)
    assert list(folder.parent.iterdir()) == []


@pytest.mark.parametrize("outcome", Outcome)
def test_outcomes_that_may_not_repeat_are_not_cached(outcome: Outcome) -> None:
    trace = make_trace() if outcome is Outcome.CAPTURED else make_failed_trace(outcome)
    assert is_cacheable(trace) == (outcome in {Outcome.CAPTURED, Outcome.REFUSED})


@pytest.mark.usefixtures("cache")
def test_the_least_recently_used_trace_is_deleted_first() -> None:
    now = time.time()
    oldest, older, newest = (add_trace(100, now - age) for age in (30, 20, 10))
    assert trim_cache(250) == 100
    assert [folder.exists() for folder in (oldest, older, newest)] == [False, True, True]


@pytest.mark.usefixtures("cache")
def test_finding_a_trace_counts_as_use() -> None:
    long_ago = time.time() - 1000
    cache = open_cache()
    make_trace("transformers").write(cache.draft(make_case()))
    folder = cache.store_draft(make_case())
    os.utime(folder, (long_ago, long_ago))
    other = add_trace(1, long_ago + 10)
    cache.find(make_case())
    size = sum(file.stat().st_size for file in folder.iterdir())
    trim_cache(size)
    assert (folder.exists(), other.exists()) == (True, False)


@pytest.mark.usefixtures("cache")
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(0, 100), max_size=8), limit=st.integers(0, 400))
def test_the_remaining_traces_fit_and_are_the_most_recent(sizes: list[int], limit: int) -> None:
    trim_cache(-1)
    folders = [add_trace(size, 1e9 + number) for number, size in enumerate(sizes)]
    freed = trim_cache(limit)
    kept = [folder.exists() for folder in folders]
    assert sum(size for size, is_kept in zip(sizes, kept, strict=True) if is_kept) == sum(sizes) - freed
    assert sum(sizes) - freed <= limit
    assert kept == sorted(kept)
    if not all(kept):  # none was deleted without need
        assert sum(sizes) - freed + sizes[kept.count(False) - 1] > limit


@pytest.mark.usefixtures("cache")
def test_an_abandoned_draft_is_deleted_after_a_day() -> None:
    cache = open_cache()
    drafts = [cache.draft(make_case(text)) for text in ("new", "old")]
    for draft, age in zip(drafts, (3600, 25 * 3600), strict=True):
        make_trace("transformers").write(draft)
        os.utime(draft, (time.time() - age,) * 2)
    trim_cache(1e9)
    assert [draft.exists() for draft in drafts] == [True, False]


@pytest.mark.usefixtures("cache")
def test_a_draft_may_be_finished_during_a_trim() -> None:
    folder = add_trace(100, time.time())
    finished = folder.with_name("any.1.draft")
    finished.symlink_to("gone")  # listed, but missing when its age is read
    assert (trim_cache(1e9), folder.exists()) == (0, True)


@pytest.mark.usefixtures("cache")
def test_the_limit_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = add_trace(2000, time.time())
    monkeypatch.setenv(CACHE_LIMIT_VARIABLE, "0.000003")
    assert (trim_cache(), folder.exists()) == (0, True)
    monkeypatch.setenv(CACHE_LIMIT_VARIABLE, "0.000001")
    assert (trim_cache(), folder.exists()) == (2000, False)


@pytest.mark.usefixtures("cache")
def test_an_empty_cache_frees_nothing() -> None:
    assert trim_cache(0) == 0


def test_arrays_are_copied_instead_of_linked(tmp_path: Path) -> None:
    make_trace().write(tmp_path / "a", ARRAYS)
    make_trace(arrays=("prefill",)).write(tmp_path / "b", {"prefill": PREFILL[:1]})
    copy_arrays(tmp_path / "a", tmp_path / "b")
    source, copy = tmp_path / "a" / ARRAY_FILE, tmp_path / "b" / ARRAY_FILE
    assert copy.read_bytes() == source.read_bytes()
    assert not copy.samefile(source)
