"""Targets in a run folder: records, arrays, sketches, logs and thumbnails, with the pages made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.byte_fuzzer.structure import mutate_json, mutate_safetensors
from tests.byte_fuzzer.target import Target, is_sample
from tests.support.selfcheck_records import make_selfcheck
from tests.support.traces import (
    ARRAYS,
    ENVIRONMENT,
    FLOOR,
    TraceFiles,
    make_case,
    make_trace,
    write_shard,
)
from vlm_parity.fuzz.page import write_fuzz_page
from vlm_parity.report.html import write_report
from vlm_parity.report.load_run import load_run
from vlm_parity.report.summary import build_report_json, format_headline
from vlm_parity.schema.array_sketch import SKETCH_FILE, sketch_arrays, write_sketch
from vlm_parity.schema.fuzz_findings import FUZZ_FILE, FuzzFinding, FuzzRecord, FuzzSummary
from vlm_parity.schema.noise_floor import FLOOR_FILE, FLOOR_RECORD, get_floor_folder
from vlm_parity.schema.record import write_record
from vlm_parity.schema.run_layout import SELFCHECK_RECORD, SHARD_RECORD
from vlm_parity.schema.trace import ARRAY_FILE, RECORD_FILE
from vlm_parity.schema.verdict import Verdict, VerdictKind
from vlm_parity.selfcheck.page import read_selfcheck, write_selfcheck_page
from vlm_parity.session.saved_traces import load_saved_traces
from vlm_parity.verdicts.decide import decide_verdict

MODEL, BACKEND, CASE = "qwen2_vl", "vllm", "one_image"
SHARD, OLDER = "shards/vllm", "shards/older"
TRACES = f"{SHARD}/traces/{MODEL}"
FLOOR_FOLDER = get_floor_folder(Path(f"{TRACES}/reference/{CASE}"), FLOOR.record.dtype)


def prepare_run(folder: Path) -> None:
    """Write a run with a mismatch, fuzzed cases and a self-check; small, since every input reads it."""
    _prepare_shard(folder, SHARD, "5.19.0")
    write_record(folder / SHARD / FUZZ_FILE, _make_fuzz_record())
    write_record(folder / SHARD / SELFCHECK_RECORD, make_selfcheck())


def prepare_environments(folder: Path) -> None:
    """Write a run of two versions of transformers, whose references are compared."""
    _prepare_shard(folder, SHARD, "5.19.0")
    _prepare_shard(folder, OLDER, "4.57.0")


def prepare_traces(folder: Path) -> None:
    """Write a run whose traces can be compared again; the engine's logits differ at one position."""
    files = TraceFiles(folder / "files")
    logits = ARRAYS["prefill"].copy()
    logits[0, 0] += 1
    files.write(files.tested, make_trace(), {**ARRAYS, "prefill": logits})
    for side, written in (("reference", files.reference), (BACKEND, files.tested)):
        target = folder / TRACES / side / CASE
        target.parent.mkdir(parents=True, exist_ok=True)
        written.rename(target)
    write_sketch(folder / TRACES / "reference" / CASE, sketch_arrays(ARRAYS))


def read_run(folder: Path) -> None:
    """Load a run and render its report: a few pages of all, ``report.json`` always."""
    run = load_run(folder)
    format_headline(run)
    build_report_json(run)
    write_fuzz_page(run)
    if is_sample((folder / SHARD / SHARD_RECORD).read_bytes() + b"".join(_read_verdicts(folder))):
        write_report(run)


def read_pages(folder: Path) -> None:
    """Render all pages of a run."""
    write_report(load_run(folder))


def compare_traces(folder: Path) -> Verdict:
    """Compare stored traces again."""
    reference, tested = load_saved_traces(folder, MODEL, BACKEND, make_case(CASE))
    verdict = decide_verdict(
        reference.trace, tested.trace, reference.folder, tested.folder, "parity run --case one_image"
    )
    verdict.model_dump_json()
    return verdict


def compare_arrays(folder: Path) -> None:
    """Compare stored traces again; whatever the arrays of one are, nothing passes.

    The records are intact: they name the arrays, so no stage may be left out.
    """
    verdict = compare_traces(folder)
    assert not verdict.kind.passes, f"a mismatch became a {verdict.kind}"


def read_checks(folder: Path) -> None:
    """Merge the shards of the self-check."""
    read_selfcheck(folder)
    if is_sample((folder / SHARD / SELFCHECK_RECORD).read_bytes()):
        write_selfcheck_page(folder)


def _prepare_shard(folder: Path, name: str, version: str) -> None:
    environment = ENVIRONMENT.model_copy(update={"packages": {"transformers": version}})
    files = TraceFiles(folder / f"files-{version}")
    files.write(files.reference, make_trace("transformers", environment=environment), ARRAYS)
    files.write(files.tested, make_trace(prompt="Look: <image>"), ARRAYS)
    write_shard(folder, Path(name).name, files.decide_verdict())
    write_sketch(folder / name / "traces" / MODEL / "reference" / CASE, sketch_arrays(ARRAYS))
    (folder / name / "logs").mkdir()
    (folder / name / "logs" / f"{MODEL}-{BACKEND}.log").write_text("loading\nTraceback: \x1b[31mred\n")


def _make_fuzz_record() -> FuzzRecord:
    fuzzed = FuzzSummary(model=MODEL, backend=BACKEND, profile="ci", seed=1, finished=True)
    finding = FuzzFinding(
        model=MODEL, backend=BACKEND, failed_property="prompt", cause="c", case="fuzz_1", shard="vllm",
        kind=VerdictKind.MISMATCH, message="m", seed=1, examples=2, reproduce="parity run",
    )  # fmt: skip
    return FuzzRecord(fuzzed=(fuzzed,), findings=(finding,))


def _read_verdicts(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((folder / SHARD / "verdicts").rglob("*.json"))]


def _in_run(name: str, file: str, read: Callable[[Path], None] = read_run, **options: object) -> Target:
    return Target(name, file, prepare_run, read, **options)  # type: ignore[arg-type]


def _in_traces(name: str, file: str, read: Callable[[Path], object] = compare_traces) -> Target:
    mutate = mutate_json if file.endswith(".json") else mutate_safetensors
    return Target(name, file, prepare_traces, read, mutate=mutate)


TARGETS = (
    _in_run("verdict", f"{SHARD}/verdicts/{MODEL}/{BACKEND}/{CASE}.json", mutate=mutate_json),
    _in_run("shard", f"{SHARD}/{SHARD_RECORD}", mutate=mutate_json),
    Target(
        "sketch",
        f"{SHARD}/traces/{MODEL}/reference/{CASE}/{SKETCH_FILE}",
        prepare_environments,
        read_run,
        mutate=mutate_safetensors,
    ),
    _in_run("log", f"{SHARD}/logs/{MODEL}-{BACKEND}.log", read_pages),
    _in_run("thumbnail", f"{SHARD}/media/{CASE}/0.png", read_pages),
    _in_run("fuzz-findings", f"{SHARD}/{FUZZ_FILE}", mutate=mutate_json),
    _in_run("selfcheck", f"{SHARD}/{SELFCHECK_RECORD}", read_checks, mutate=mutate_json),
    _in_traces("trace", f"{TRACES}/{BACKEND}/{CASE}/{RECORD_FILE}"),
    _in_traces("reference-trace", f"{TRACES}/reference/{CASE}/{RECORD_FILE}"),
    _in_traces("arrays", f"{TRACES}/{BACKEND}/{CASE}/{ARRAY_FILE}", compare_arrays),
    _in_traces("reference-arrays", f"{TRACES}/reference/{CASE}/{ARRAY_FILE}", compare_arrays),
    _in_traces("noise-floor", str(FLOOR_FOLDER / FLOOR_RECORD)),
    _in_traces("noise-arrays", str(FLOOR_FOLDER / FLOOR_FILE)),
)
