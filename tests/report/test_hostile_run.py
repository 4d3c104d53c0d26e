"""Run folders from elsewhere: nothing outside of them is read, written or removed, and nothing hangs."""

from __future__ import annotations

import json
import os
import tracemalloc
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from vlm_parity.report.html import write_report
from vlm_parity.report.load_run import load_run
from vlm_parity.report.publish import apply_known_issues_to_run, merge_runs, publish_report
from vlm_parity.report.summary import build_report_json
from vlm_parity.schema.array_sketch import SKETCH_FILE
from vlm_parity.schema.run_layout import SHARD_RECORD, get_verdict_path, is_path_component
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import VerdictKind
from vlm_parity.util.errors import UsageError
from vlm_parity.verdicts.known_issues import KnownIssue

if TYPE_CHECKING:
    from tests.report.conftest import RunBuilder

FOREIGN = "a file of somebody else"
OUTSIDE = ["../../../outside", "/proc/outside", "..", ".", "", "a/b", "a\\b", "a\x00b", "a\nb", "x" * 5000]
ISSUE = KnownIssue.model_validate(
    {
        "name": "any",
        "backend": "*",
        "case": "*",
        "stage": "prompt",
        "upstream": "none",
        "expires": date(9999, 1, 1),
        "note": "Any prompt.",
    }
)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Return a folder beside the run, with a file that is nobody's business."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.html").write_text(FOREIGN)
    return folder


def list_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def publish(run: Path) -> str:
    """Publish a run and return the text of all its pages."""
    assert not publish_report(run).passes
    return "".join(path.read_text() for path in [*run.glob("*.html"), *run.glob("cases/*.html")])


# Names


@pytest.mark.parametrize("name", ["qwen2_vl", "org--name", "a b", "é", "x" * 240])
def test_names_of_files(name: str) -> None:
    assert is_path_component(name)


@pytest.mark.parametrize("name", OUTSIDE)
def test_paths_are_no_names_of_files(name: str) -> None:
    assert not is_path_component(name)


@pytest.mark.parametrize("field", ["case", "model", "backend", "mode"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lead_out_of_the_run(
    builder: RunBuilder, records: ModuleType, tmp_path: Path, field: str, name: str
) -> None:
    shard = builder.shard(records.verdict(case="other"), expected=2)
    content = json.loads(records.verdict(VerdictKind.MISMATCH, records.wrong_ids()).model_dump_json())
    for holder in (content, content["tested"], content["reference"]):
        holder[field] = name
    path = shard / "verdicts" / "qwen2_5_vl" / "vllm" / "hostile.json"
    path.write_text(json.dumps(content))
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(builder.folder)}
    apply_known_issues_to_run(builder.folder, (ISSUE,))
    assert "hostile.json" in publish(builder.folder)
    after = {path for path in tmp_path.rglob("*") if not path.is_relative_to(builder.folder)}
    assert after - before <= {tmp_path / "latest", *(tmp_path / "latest").rglob("*")}
    written = {path.name for path in (shard / "verdicts").rglob("*.json")}
    assert written == {"other.json", "hostile.json"}


def test_media_and_logs_of_other_folders_are_not_shown(
    builder: RunBuilder, records: ModuleType, outside: Path
) -> None:
    builder.shard(records.silent(VerdictKind.CRASH, "no", model="../../../../outside/x"), models={})
    (outside / "x-vllm.log").write_text(FOREIGN)
    assert FOREIGN not in publish(builder.folder)


# Symbolic links and special files


def test_linked_shard(builder: RunBuilder, records: ModuleType, tmp_path: Path) -> None:
    builder.shard(records.verdict(), name="vllm")
    shard = builder.shard(records.verdict(VerdictKind.CRASH, reason=FOREIGN), name="other")
    shard.rename(tmp_path / "other")
    shard.symlink_to(tmp_path / "other")
    assert "shards/other: a symbolic link, which is not followed" in publish(builder.folder)
    assert FOREIGN not in publish(builder.folder)


@pytest.mark.parametrize("name", ["shards", "shards/vllm/verdicts", "shards/vllm/verdicts/qwen2_5_vl/vllm"])
def test_linked_folder(builder: RunBuilder, records: ModuleType, tmp_path: Path, name: str) -> None:
    builder.shard(records.verdict())
    path = builder.folder / name
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert f"{name}: a symbolic link, which is not followed" in publish(builder.folder)


@pytest.mark.parametrize("name", [SHARD_RECORD, "verdicts/qwen2_5_vl/vllm/one_image.json"])
def test_linked_record(builder: RunBuilder, records: ModuleType, tmp_path: Path, name: str) -> None:
    path = builder.shard(records.verdict(), records.verdict(case="two")) / name
    path.rename(tmp_path / "record.json")
    path.symlink_to(tmp_path / "record.json")
    assert f"shards/vllm/{name}: a symbolic link, which is not followed" in publish(builder.folder)
    apply_known_issues_to_run(builder.folder, (ISSUE,))
    assert path.is_symlink()


def test_linked_thumbnail_and_log(builder: RunBuilder, records: ModuleType, outside: Path) -> None:
    shard = builder.shard(records.silent(VerdictKind.CRASH, "no"))
    builder.thumbnail("vllm", "one_image")
    thumbnail = shard / "media" / "one_image" / "0.png"
    thumbnail.rename(outside / "0.png")
    thumbnail.symlink_to(outside / "0.png")
    (shard / "logs").mkdir()
    (shard / "logs" / "qwen2_5_vl-vllm.log").symlink_to(outside / "secret.html")
    text = publish(builder.folder)
    assert FOREIGN not in text
    assert "data:image/png" not in text


def test_pipe_in_place_of_a_verdict(builder: RunBuilder, records: ModuleType) -> None:
    shard = builder.shard(records.verdict(), expected=2)
    os.mkfifo(shard / "verdicts" / "pipe.json")
    assert "pipe.json: not a readable Verdict: is a pipe, not a file" in publish(builder.folder)


def test_folder_whose_name_is_no_shard(builder: RunBuilder, records: ModuleType) -> None:
    builder.shard(records.verdict(), name="vllm")
    builder.shard(records.verdict(), name="<b>::error::")
    run = load_run(builder.folder)
    assert [shard.name for shard in run.shards] == ["vllm"]
    assert "letters, digits" in run.problems[0]


def test_folder_of_pages_that_is_a_link(builder: RunBuilder, records: ModuleType, outside: Path) -> None:
    builder.shard(records.verdict())
    before = list_files(outside)
    (builder.folder / "cases").symlink_to(outside)
    with pytest.raises(UsageError, match="cases: a symbolic link"):
        publish_report(builder.folder)
    assert list_files(outside) == before


def test_pages_of_somebody_else_are_kept(builder: RunBuilder, records: ModuleType) -> None:
    builder.shard(records.verdict(case="one"), name="a")
    write_report(load_run(builder.folder))
    (builder.folder / "cases" / "thesis.html").write_text(FOREIGN)
    (builder.folder / "shards" / "a").rename(builder.folder / "shards" / "a-2")
    write_report(load_run(builder.folder))
    names = {path.name for path in (builder.folder / "cases").iterdir()}
    assert names == {"thesis.html", "a_2-qwen2_5_vl-vllm-one.html"}


# Merging


@pytest.mark.parametrize("move", [False, True])
def test_link_within_a_shard_is_not_followed_by_a_merge(
    builder: RunBuilder, records: ModuleType, outside: Path, tmp_path: Path, move: bool
) -> None:
    shard = builder.shard(records.verdict())
    (shard / "verdicts" / "linked").symlink_to(outside)
    before = list_files(outside)
    merge_runs([builder.folder], tmp_path / "out", move=move, required=[])
    assert (tmp_path / "out" / "shards" / "vllm" / "verdicts" / "linked").is_symlink()
    assert not load_run(tmp_path / "out").passes
    assert list_files(outside) == before


@pytest.mark.parametrize("move", [False, True])
@pytest.mark.parametrize("kind", ["shard", "shards", "out", "pipe"])
def test_merge_that_would_leave_the_runs_changes_nothing(
    builder: RunBuilder, records: ModuleType, tmp_path: Path, kind: str, move: bool
) -> None:
    shard, out = builder.shard(records.verdict()), tmp_path / "out"
    elsewhere = tmp_path / "elsewhere"
    if kind == "pipe":
        os.mkfifo(shard / "pipe")
    elif kind == "out":
        out.mkdir()
        elsewhere.mkdir()
        (out / "shards").symlink_to(elsewhere)
    else:
        path = shard if kind == "shard" else shard.parent
        path.rename(elsewhere)
        path.symlink_to(elsewhere)
    before = list_files(tmp_path) if kind != "pipe" else {}
    with pytest.raises(UsageError, match=r"symbolic link|neither a file nor a folder"):
        merge_runs([builder.folder], out, move=move, required=[])
    assert kind == "pipe" or list_files(tmp_path) == before


# Numbers


@pytest.mark.parametrize("size", [10**12, 2**53])
def test_span_of_many_positions_takes_no_memory(builder: RunBuilder, records: ModuleType, size: int) -> None:
    spans = [{"modality": "image", "item": 0, "runs": [[0, size]]}]
    other = [{"modality": "image", "item": 0, "runs": [[5, size]]}]
    sides: Any = {
        "reference": records.trace("transformers", "one_image", spans=spans),
        "tested": records.trace("vllm", "one_image", spans=other),
    }
    builder.shard(records.verdict(VerdictKind.MISMATCH, records.wrong_ids(), **sides))
    tracemalloc.start()
    text = publish(builder.folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6
    assert "5 positions are embedded on one side only" in text
    assert "does not fit a prompt of 124 positions" in text


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("reference", "spans", 0, "runs", 0, 1), 10**400),
        (("stages", 7, "evidence", "first_position"), 10**400),
        (("stages", 7, "evidence", "first_position"), 2**53),
        (("stages", 7, "evidence", "worst_position"), 2**53),
        (("stages", 7, "evidence", "row_limit_ratios"), []),
        (("stages", 7, "evidence", "row_limit_ratios"), ["NaN", "Infinity", -5]),
        (("stages", 7, "evidence", "max_abs"), [10**400]),
        (("stages", 7, "metrics", "max_abs"), 10**4000),
        (("stages", 7, "metrics", "max_abs"), "-Infinity"),
        (("stages", 1, "evidence", "hunks", 0, "reference_index"), 10**4299),
        (("stages", 1, "evidence", "hunks", 1, "reference", 0, 1), 10**4299),
        (("stages", 1, "evidence", "hunks"), []),
        (("stages",), []),
        (("tested", "environment", "dtype"), "../../x"),
        (("reference", "environment", "packages", "transformers"), "9" * 5000),
        (("reference", "seconds"), {"x": "NaN"}),
        (("diagnoses",), [{"stage": "prompt", "cause": "c", "explanation": "e", "confidence": "NaN"}]),
        (("schema_version",), 10**400),
        (("schema_version",), None),
    ],
)
def test_any_number_has_a_report(
    builder: RunBuilder, records: ModuleType, path: tuple[Any, ...], value: Any
) -> None:
    verdict = records.verdict(
        VerdictKind.MISMATCH, records.wrong_ids(), records.logits(Stage.PREFILL, [0.5, 1.0], first=0)
    )
    shard = builder.shard(records.verdict(case="other"), verdict)
    file = get_verdict_path(shard, verdict)
    content = json.loads(file.read_text())
    holder: Any = content
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    file.write_text(json.dumps(content))
    publish(builder.folder)
    json.dumps(build_report_json(load_run(builder.folder)), allow_nan=False)


@pytest.mark.parametrize("seconds", ["NaN", "Infinity", -1, 1e300])
def test_time_that_is_no_time(builder: RunBuilder, records: ModuleType, seconds: Any) -> None:
    shard = builder.shard(records.verdict())
    content = json.loads((shard / SHARD_RECORD).read_text())
    content["seconds"]["diff"] = seconds
    (shard / SHARD_RECORD).write_text(json.dumps(content))
    assert "seconds.diff" in publish(builder.folder)


@pytest.mark.parametrize(
    "change",
    [
        {"prefill/rows": np.zeros((7, 8))},
        {"prefill/rows": np.zeros((2, 3))},
        {"prefill/mean_square": np.zeros(())},
        {"prefill/shape": np.zeros((0,), np.int64)},
        {"prefill/digest": None},
        {"positions": np.zeros(3)},
    ],
)
def test_damaged_sketch(builder: RunBuilder, records: ModuleType, change: dict[str, Any]) -> None:
    arrays = {
        "prefill/shape": np.array([2, 9], np.int64),
        "prefill/digest": np.zeros(32, np.uint8),
        "prefill/rows": np.zeros((2, 8)),
        "prefill/mean_square": np.zeros(2),
        "positions": np.zeros((3, 4)),
    }
    for number, version in enumerate(("5.9.0", "5.21.0")):
        environment = records.environment(packages={"transformers": version})
        side = records.trace("transformers", "one_image", environment=environment)
        shard = builder.shard(records.verdict(reference=side), name=f"shard{number}")
        damaged = {**arrays, **(change if number else {})}
        folder = shard / "traces" / side.model / "reference" / side.case
        folder.mkdir(parents=True)
        save_file({k: v for k, v in damaged.items() if v is not None}, folder / SKETCH_FILE)
    (drift,) = publish_report(builder.folder).drifts
    assert drift.cases[0].stages[7].message.startswith(f"{folder / SKETCH_FILE}: not a sketch")
