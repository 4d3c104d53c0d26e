"""References: captured at most once, in this session or in one before."""

from __future__ import annotations

import io
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.support.checkpoints import write_checkpoint
from vlm_parity.backends.base import Settings
from vlm_parity.capture.reference_cache import trim_cache
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.content import compute_content
from vlm_parity.schema.array_sketch import SKETCH_FILE
from vlm_parity.schema.case import Case
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.manifest import MANIFEST_FILE
from vlm_parity.schema.noise_floor import FLOOR_FILE, get_floor_folder, read_noise_floor
from vlm_parity.schema.trace import ARRAY_FILE, RECORD_FILE, Outcome, read_trace
from vlm_parity.session import references as module
from vlm_parity.session.plan import Plan
from vlm_parity.session.progress import ProgressReporter
from vlm_parity.session.references import ReferenceProvider, select_truth_dtype
from vlm_parity.session.shard_writer import ShardWriter
from vlm_parity.util.environment_variables import CACHE_VARIABLE

CASES = {
    name: Case.model_validate(
        {"name": name, "summary": "s", "messages": [{"role": "user", "content": name}], "max_new_tokens": 2}
    )
    for name in ("one", "two", "three")
}


class Sessions:
    """Sessions that ask for references, each as a new process would."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.output = io.StringIO()
        settings = Settings(depth=Depth.LOGITS, dtype="bfloat16", engine_args={"for": "the backend"})
        self.plan = Plan(settings, settings.dtype, "float32", folder / "part", "pytest", "pytest cases")

    def start(self, **changes: Any) -> ReferenceProvider:
        plan = replace(self.plan, **changes)
        reporter = ProgressReporter(Console(file=self.output, width=200), nullcontext)
        return ReferenceProvider(plan, ShardWriter(plan.folder, "pytest", CASES), reporter)

    def checkpoint(self, name: str = "tiny") -> Checkpoint:
        return Checkpoint(name, "tiny", self._folder, "synthetic", digest=name)

    @property
    def loads(self) -> int:
        logs = (self._folder / "part" / "logs").glob("*-reference.log")
        return sum(log.read_text().count("loading") for log in logs)


@pytest.fixture
def sessions(tiny_engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sessions:
    """Return sessions whose reference is the tiny engine, with an empty cache."""
    monkeypatch.setattr(module, "REFERENCE_BACKEND", tiny_engine)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return Sessions(tmp_path)


def asked(*names: str) -> tuple[Case, ...]:
    return tuple(CASES[name] for name in names)


def test_a_session_asks_the_reference_once_for_each_case(sessions: Sessions) -> None:
    references = sessions.start()
    first = references.provide(sessions.checkpoint(), asked("one", "two"))["two"]
    again = references.provide(sessions.checkpoint(), asked("two"))["two"]
    assert first is again
    assert sessions.loads == 1
    assert (first.folder / ARRAY_FILE).exists()
    environment = first.trace.environment
    assert environment.dtype == "float32"  # its own, and no argument of the backend's
    assert environment.settings == {"orders": "{}"}


def test_a_second_session_finds_them_in_the_cache_and_captures_the_rest(sessions: Sessions) -> None:
    before = sessions.start().provide(sessions.checkpoint(), asked("one"))["one"]
    found = sessions.start().provide(sessions.checkpoint(), asked("one", "two"))
    assert found["one"] == before
    assert found["two"].trace.case == "two"
    assert "[tiny reference] 1 of 2 traces from the cache\n" in sessions.output.getvalue()
    everything = sessions.start().provide(sessions.checkpoint(), asked("one", "two"))
    assert everything == found
    assert sessions.loads == 2


def test_what_the_cache_threw_away_is_made_again(sessions: Sessions) -> None:
    references = sessions.start()
    before = references.provide(sessions.checkpoint(), asked("one", "two"))["one"]
    shutil.rmtree(before.folder)
    after = references.provide(sessions.checkpoint(), asked("one", "two"))["one"]
    assert (after.folder / ARRAY_FILE).exists()
    assert sessions.loads == 2


@pytest.mark.parametrize("name", [RECORD_FILE, ARRAY_FILE, SKETCH_FILE, MANIFEST_FILE])
def test_damage_in_the_cache_is_reported_and_costs_one_capture(sessions: Sessions, name: str) -> None:
    before = sessions.start().provide(sessions.checkpoint(), asked("one", "two"))
    (before["one"].folder / name).write_bytes(b"")
    after = sessions.start().provide(sessions.checkpoint(), asked("one", "two"))
    assert after["two"] == before["two"]
    assert (after["one"].trace.input_ids, after["one"].folder) == (
        before["one"].trace.input_ids,
        before["one"].folder,
    )
    message = f"[tiny reference] one: the cache is damaged: {before['one'].folder / name}"
    assert message in sessions.output.getvalue()
    assert "[tiny reference] 1 of 2 traces from the cache" in sessions.output.getvalue()
    assert sessions.loads == 2


def test_a_damaged_floor_is_measured_again_and_its_trace_is_kept(sessions: Sessions) -> None:
    before = sessions.start().provide(sessions.checkpoint(), asked("one"))["one"]
    file = get_floor_folder(before.folder, "bfloat16") / FLOOR_FILE
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"\0")
    after = sessions.start().provide(sessions.checkpoint(), asked("one"))["one"]
    assert (after.trace, file.read_bytes()) == (before.trace, content)
    assert f"the cache is damaged: {file}: changed" in sessions.output.getvalue()


def test_what_was_provided_stays_until_the_session_needs_it_no_more(sessions: Sessions) -> None:
    references = sessions.start()
    with references.hold():
        found = references.provide(sessions.checkpoint(), asked("one"))["one"]
        trim_cache(0)
        assert found.folder.exists()
    trim_cache(0)
    assert not found.folder.exists()


def test_models_do_not_share_their_references(sessions: Sessions) -> None:
    references = sessions.start()
    for name in ("tiny", "other"):
        assert references.provide(sessions.checkpoint(name), asked("one"))["one"].trace.model == name
    assert sessions.loads == 2


def test_a_reference_that_crashed_is_tried_again_by_the_next_session(
    sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TINY_ENGINE", '{"inputs one": "die", "inputs two": "raise"}')
        failed = sessions.start().provide(sessions.checkpoint(), asked("one", "two", "three"))
    outcomes = [failed[name].trace.outcome for name in ("one", "two", "three")]
    assert outcomes == [Outcome.CRASH, Outcome.REFUSED, Outcome.CAPTURED]
    healed = sessions.start().provide(sessions.checkpoint(), asked("one", "two", "three"))
    assert healed["one"].trace.outcome is Outcome.CAPTURED
    assert [healed["two"], healed["three"]] == [failed["two"], failed["three"]]
    assert sorted(path.suffix for path in (tmp_path / "cache" / "reference").iterdir()) == ["", "", ""]


def test_a_reference_of_files_that_change_is_not_cached(sessions: Sessions, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", model_type="tiny")
    content = compute_content(folder)
    checkpoint = replace(sessions.checkpoint(), path=folder, content=content)
    (folder / "tokenizer.json").write_text("garbage")
    failed = sessions.start().provide(checkpoint, asked("one"))["one"]
    assert failed.trace.outcome is Outcome.INVALID
    (folder / "tokenizer.json").write_text("{}")
    assert compute_content(folder) == content
    assert sessions.start().provide(checkpoint, asked("one"))["one"].trace.outcome is Outcome.CAPTURED


def test_each_dtype_under_test_has_a_floor_of_its_own_beside_one_truth(sessions: Sessions) -> None:
    first = sessions.start().provide(sessions.checkpoint(), asked("one"))["one"]
    coarse = "float16"
    second = sessions.start(dtype=coarse).provide(sessions.checkpoint(), asked("one"))["one"]
    assert second.folder == first.folder
    assert sessions.loads == 2
    assert all(read_noise_floor(first.folder, dtype) is not None for dtype in ("bfloat16", "float16"))


def test_a_floor_that_could_not_be_measured_is_tried_again(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_ENGINE", '{"samples one": "raise"}')
    first = sessions.start().provide(sessions.checkpoint(), asked("one"))["one"]
    floor = read_noise_floor(first.folder, "bfloat16")
    assert floor is not None
    assert floor.record.problem
    monkeypatch.delenv("TINY_ENGINE")
    second = sessions.start().provide(sessions.checkpoint(), asked("one"))["one"]
    floor = read_noise_floor(second.folder, "bfloat16")
    assert floor is not None
    assert not floor.record.problem


def test_a_child_that_dies_over_a_floor_leaves_the_cached_trace_alone(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sessions.start().provide(sessions.checkpoint(), asked("one"))["one"]
    monkeypatch.setenv("TINY_ENGINE", '{"samples one": "die"}')
    coarse = "float16"
    second = sessions.start(dtype=coarse).provide(sessions.checkpoint(), asked("one"))["one"]
    assert second.trace.outcome is Outcome.CRASH
    assert read_trace(first.folder) == first.trace


def test_at_the_depth_of_tokens_there_is_no_noise(sessions: Sessions) -> None:
    tokens = replace(sessions.plan.settings, depth=Depth.TOKENS)
    found = sessions.start(settings=tokens).provide(sessions.checkpoint(), asked("one"))["one"]
    assert read_noise_floor(found.folder, "bfloat16") is None


@pytest.mark.parametrize(("source", "dtype"), [("synthetic", "float64"), ("local", "float32")])
def test_the_truth_is_as_precise_as_the_model_is_small(source: str, dtype: str) -> None:
    assert select_truth_dtype(Checkpoint("m", "f", Path(), source, "d")) == dtype
