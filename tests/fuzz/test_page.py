"""The report page of the fuzzer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.traces import TraceFiles, write_shard
from vlm_parity.fuzz.page import format_headline, write_fuzz_page
from vlm_parity.report.publish import publish_report
from vlm_parity.schema.fuzz_findings import FUZZ_FILE, FuzzFinding, FuzzRecord, FuzzSummary
from vlm_parity.schema.record import read_record, write_record
from vlm_parity.schema.run import Shard
from vlm_parity.schema.verdict import Verdict, VerdictKind

FUZZED = FuzzSummary(
    model="qwen2_vl", backend="vllm", profile="ci", seed=1, examples=1200, seconds=10, finished=True
)


def make_finding(**changes: object) -> FuzzFinding:
    values = {
        "model": "qwen2_vl",
        "backend": "vllm",
        "failed_property": "input_ids",
        "cause": "pad token used as image token",
        "case": "fuzz_input_ids_1",
        "shard": "elsewhere",
        "kind": VerdictKind.MISMATCH,
        "message": "<script>alert(1)</script>",
        "seed": 1,
        "examples": 40,
        "reproduce": "pytest cases --case fuzz_input_ids_1",
    }
    return FuzzFinding.model_validate(values | changes)


def write_run(run: Path, *findings: FuzzFinding, verdicts: tuple[Verdict, ...] = ()) -> None:
    write_shard(run, "vllm-fuzz", *verdicts)
    record = read_record(run / "shards" / "vllm-fuzz" / "shard.json", Shard)
    write_record(run / "shards" / "vllm-fuzz" / "shard.json", record.model_copy(update={"examples": 1200}))
    write_record(run / "shards" / "vllm-fuzz" / FUZZ_FILE, FuzzRecord(fuzzed=(FUZZED,), findings=findings))


def test_a_finding_links_to_its_case(tmp_path: Path, trace_files: TraceFiles) -> None:
    verdict = trace_files.decide_verdict().model_copy(
        update={"case": "fuzz_input_ids_1", "kind": VerdictKind.KNOWN, "known": "entry: words"}
    )
    run = tmp_path / "run"
    write_run(run, make_finding(), verdicts=(verdict,))
    write_fuzz_page(publish_report(run))
    page = (run / "fuzz.html").read_text(encoding="utf-8")
    assert 'href="cases/vllm_fuzz-qwen2_vl-vllm-fuzz_input_ids_1.html"' in page
    assert "<script>" not in page
    assert "entry: words" in page
    assert 'href="fuzz.html"' in (run / "index.html").read_text(encoding="utf-8")
    (merged,) = read_record(run / FUZZ_FILE, FuzzRecord).findings
    assert (merged.kind, merged.shard) == (VerdictKind.KNOWN, "vllm-fuzz")


def test_without_fuzzing_there_is_no_page(tmp_path: Path, trace_files: TraceFiles) -> None:
    write_shard(tmp_path / "run", "vllm", trace_files.decide_verdict())
    write_fuzz_page(publish_report(tmp_path / "run"))
    assert not (tmp_path / "run" / "fuzz.html").exists()
    assert "fuzz.html" not in (tmp_path / "run" / "index.html").read_text(encoding="utf-8")


def test_unreadable_records_are_shown(tmp_path: Path, trace_files: TraceFiles) -> None:
    write_shard(tmp_path / "run", "vllm", trace_files.decide_verdict())
    (tmp_path / "run" / "shards" / "vllm" / FUZZ_FILE).write_text("{")
    write_fuzz_page(publish_report(tmp_path / "run"))
    assert "not a readable FuzzRecord" in (tmp_path / "run" / "fuzz.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ((), "No new findings in 1,200 examples for 1 models and engines"),
        ((VerdictKind.MISMATCH,), "1 new finding in 1,200 examples"),
        (
            (VerdictKind.ERROR, VerdictKind.KNOWN),
            "1 new finding in 1,200 examples for 1 models and engines, 1 known",
        ),
    ],
)
def test_the_headline_counts(kinds: tuple[VerdictKind, ...], expected: str) -> None:
    record = FuzzRecord(fuzzed=(FUZZED,), findings=tuple(make_finding(kind=kind) for kind in kinds))
    assert format_headline(record).startswith(expected)
