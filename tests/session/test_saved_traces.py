"""Traces of a run folder that may come from anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.traces import ARRAYS, make_case, make_trace
from vlm_parity.schema.manifest import write_manifest
from vlm_parity.schema.record import write_record
from vlm_parity.schema.run import ModelInfo
from vlm_parity.schema.run_layout import SHARD_RECORD
from vlm_parity.schema.trace import RECORD_FILE, Span
from vlm_parity.session.saved_traces import load_saved_model, load_saved_traces
from vlm_parity.session.shard_writer import ShardWriter
from vlm_parity.util.errors import RecordError

INFO = ModelInfo(name="qwen2_vl", family="qwen2_vl", source="synthetic")


def write_traces(run: Path, spans: tuple[Span, ...]) -> Path:
    folder = run / "shards" / "vllm" / "traces" / "qwen2_vl"
    make_trace("transformers").write(folder / "reference" / "one_image", ARRAYS)
    make_trace(spans=spans).write(folder / "vllm" / "one_image", ARRAYS)
    return folder / "vllm" / "one_image" / RECORD_FILE


def test_a_span_outside_of_the_prompt_is_named(tmp_path: Path) -> None:
    path = write_traces(tmp_path, (Span(modality="image", item=0, runs=((0, 10**12),)),))
    with pytest.raises(RecordError) as caught:
        load_saved_traces(tmp_path, "qwen2_vl", "vllm", make_case())
    message = "the span of image 0 does not fit a prompt of 12 positions"
    assert str(caught.value) == f"{path}: {message}"


def test_a_kept_trace_that_was_changed_is_named(tmp_path: Path) -> None:
    path = write_traces(tmp_path, ())
    write_manifest(path.parent)
    load_saved_traces(tmp_path, "qwen2_vl", "vllm", make_case())
    path.write_text(path.read_text().replace("one_image", "two_image"))
    with pytest.raises(RecordError, match=f"{RECORD_FILE}: changed since it was written"):
        load_saved_traces(tmp_path, "qwen2_vl", "vllm", make_case())


def test_the_identity_of_a_model_is_that_of_its_run(tmp_path: Path) -> None:
    shard = ShardWriter(tmp_path / "shards" / "vllm", "pytest", {})
    shard.start(["vllm"])
    shard.add_model_info(INFO)
    assert load_saved_model(tmp_path, "qwen2_vl") == INFO
    assert load_saved_model(tmp_path / "shards" / "vllm", "qwen2_vl") == INFO


@pytest.mark.parametrize("content", [None, "{"])
def test_without_a_record_it_is_the_name(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / SHARD_RECORD).write_text(content)
    found = load_saved_model(tmp_path, "my-model")
    assert found == ModelInfo(name="my-model", family="my-model", source="saved traces")


def test_a_record_of_other_models_is_passed_over(tmp_path: Path) -> None:
    write_record(tmp_path / "shards" / "a" / SHARD_RECORD, INFO)  # not a shard
    assert load_saved_model(tmp_path, "qwen2_vl").source == "saved traces"
