"""Verdicts of a session: a pass on given values that is missing never passes unseen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.traces import ARRAYS, FEATURES, PREFILL, TraceFiles, make_case, make_trace
from vlm_parity.backends.base import Settings
from vlm_parity.capture.stored_trace import StoredTrace
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.record import read_record
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus, Verdict, VerdictKind
from vlm_parity.session.plan import EngineLoad, Plan
from vlm_parity.session.saved_traces import find_conditioned_trace
from vlm_parity.session.shard_writer import ShardWriter
from vlm_parity.session.verdict_writer import VerdictWriter

LOAD = EngineLoad("qwen2_vl", "vllm")
CASE = "one_image"


@pytest.fixture
def writer(tmp_path: Path, trace_files: TraceFiles) -> VerdictWriter:
    """Return a writer that has written a verdict with other features, and so other logits."""
    plan = Plan(
        settings=Settings(),
        dtype=None,
        reference_dtype=None,
        folder=tmp_path / "shard",
        command="pytest cases",
        reproduce="parity run",
        keep_logits=True,
    )
    writer = VerdictWriter(plan, ShardWriter(plan.folder, plan.command, {CASE: make_case()}), ())
    arrays = {**ARRAYS, "vision": FEATURES + 1, "prefill": PREFILL * 1.1}
    trace_files.write(trace_files.tested, make_trace(), arrays)
    writer.write(LOAD, *sides(trace_files))
    return writer


def sides(trace_files: TraceFiles) -> tuple[StoredTrace, StoredTrace]:
    return (
        StoredTrace(trace_files.read("reference"), trace_files.reference),
        StoredTrace(trace_files.read("tested"), trace_files.tested),
    )


def read_written(tmp_path: Path) -> Verdict:
    return read_record(tmp_path / "shard" / "verdicts" / "qwen2_vl" / "vllm" / f"{CASE}.json", Verdict)


def test_a_pass_is_added_to_the_written_verdict(
    writer: VerdictWriter, trace_files: TraceFiles, tmp_path: Path
) -> None:
    assert writer.select_condition(LOAD, CASE) is Condition.FEATURES
    folder = tmp_path / "shard" / "traces" / "qwen2_vl" / "vllm-given-features" / CASE
    trace_files.write(folder, make_trace(condition=Condition.FEATURES), ARRAYS)
    given = StoredTrace(make_trace(condition=Condition.FEATURES, arrays=tuple(sorted(ARRAYS))), folder)
    writer.write_conditioned(LOAD, sides(trace_files)[0], given)
    assert writer.select_condition(LOAD, CASE) is None
    written = read_written(tmp_path)
    assert written == writer.get(LOAD, CASE)
    assert written.stage(Stage.PREFILL).is_compared_on_given
    own = StoredTrace(make_trace(), tmp_path / "shard" / "traces" / "qwen2_vl" / "vllm" / CASE)
    found = find_conditioned_trace(own, "vllm-given-features")
    assert found is not None
    assert found.trace.condition is Condition.FEATURES
    assert find_conditioned_trace(own, "vllm-given-media") is None


def test_a_pass_that_was_not_kept_is_not_compared_and_says_so(writer: VerdictWriter, tmp_path: Path) -> None:
    writer.write_not_given(LOAD, CASE, Condition.FEATURES, "the run holds no trace")
    assert writer.select_condition(LOAD, CASE) is None
    given = read_written(tmp_path).stage(Stage.PREFILL).conditioned
    assert given is not None
    assert (given.status, given.message) == (DiffStatus.NOT_COMPARED, "the run holds no trace")


def test_a_pass_that_the_session_could_not_make_fails_the_verdict(
    writer: VerdictWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_plan", replace(writer._plan, passes=1))
    writer.mark_unfinished(LOAD, CASE, OSError("no space left on device"))
    written = read_written(tmp_path)
    assert written.kind is VerdictKind.HARNESS_ERROR
    assert "running the session's further passes" in written.reason
    writer.write_not_given(LOAD, CASE, Condition.FEATURES, "nothing more to come")
    writer.mark_unfinished(LOAD, CASE, OSError("no space left on device"))
    assert read_written(tmp_path).kind is VerdictKind.MISMATCH
