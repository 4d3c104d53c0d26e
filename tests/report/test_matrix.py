"""The matrix: every verdict in one cell, and every cell that has none says why."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from vlm_parity.report.html import write_report
from vlm_parity.report.load_run import LoadedRun, load_run
from vlm_parity.report.matrix import KINDS, build_matrix
from vlm_parity.report.matrix_markdown import render_markdown
from vlm_parity.schema.case import Case
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.run import ModelInfo
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus, StageDiff, VerdictKind

if TYPE_CHECKING:
    from tests.report.conftest import RunBuilder


@pytest.fixture
def run(builder: RunBuilder, records: ModuleType) -> Any:
    apart = StageDiff(stage=Stage.SPANS, status=DiffStatus.MISMATCH, message="differs <b>here</b> | there")
    mixed = records.case("video_and_image").model_dump()
    mixed["messages"][1]["content"] += ({"video": {"pattern": "gradient", "size": (56, 56), "frames": 2}},)
    builder.shard(
        records.verdict(case="text_only", model="qwen2_vl"),
        records.verdict(case="one_image", model="qwen2_vl"),
        records.verdict(
            VerdictKind.MISMATCH, apart, case="two_images", model="qwen2_vl", reason="<b>apart</b> | `x`"
        ),
        records.verdict(VerdictKind.UNSUPPORTED, case="video_and_image", model="unheard_of", reason="no"),
        cases={
            "text_only": records.case("text_only", images=0),
            "one_image": records.case("one_image"),
            "two_images": records.case("two_images", images=2),
            "video_and_image": Case.model_validate(mixed),
        },
        models={
            "qwen2_vl": ModelInfo(name="qwen2_vl", family="qwen2_vl", source="synthetic"),
            "unheard_of": ModelInfo(name="unheard_of", family="unheard_of", source="a folder"),
        },
    )
    return load_run(builder.folder)


def test_every_verdict_has_its_cell(run: LoadedRun) -> None:
    rows = build_matrix(run).rows
    assert sum(len(entry) for row in rows for entry in row.cells.values()) == len(run.verdicts)
    held = {(row.model, row.kind) for row in rows if row.cells}
    assert held == {("qwen2_vl", "text"), ("qwen2_vl", "image"), ("unheard_of", "mixed")}
    assert [(row.model, row.kind) for row in rows] == [
        (model, kind) for model in ("qwen2_vl", "unheard_of") for kind in KINDS
    ]


def test_unsupported_modality_is_distinct_from_missing_cases(run: LoadedRun) -> None:
    taken = {(row.model, row.kind): row.is_supported for row in build_matrix(run).rows}
    assert not taken["qwen2_vl", "audio"]
    assert taken["qwen2_vl", "mixed"]
    assert taken["unheard_of", "audio"]
    lines = render_markdown(run).splitlines()
    assert "|  | audio | none |" in lines
    assert "|  | video | not run |" in lines


def test_only_differences_are_listed_the_worst_first(run: LoadedRun) -> None:
    differences = [(each.verdict, each.stage, each.description) for each in build_matrix(run).differences]
    assert differences == [
        (VerdictKind.MISMATCH, Stage.SPANS, "<b>apart</b> | `x`"),
        (VerdictKind.UNSUPPORTED, None, "no"),
    ]


def test_the_document_shows_text_as_it_is(run: LoadedRun) -> None:
    (line,) = [line for line in render_markdown(run).splitlines() if "apart" in line]
    assert "&lt;b&gt;apart&lt;/b&gt; &#124; &#96;x&#96;" in line


def test_the_page_leads_from_a_cell_to_its_verdicts(run: LoadedRun) -> None:
    page = write_report(run).with_name("matrix.html").read_text(encoding="utf-8")
    for row in build_matrix(run).rows:
        for label, entry in row.cells.items():
            place = f"{row.model}-{row.kind}-{label}"
            assert f'href="#{place}"' in page
            assert f'id="{place}"' in page
            assert all(f'href="{each.page}"' in page for each in entry)
    assert "<b>apart" not in page


def test_of_two_depths_the_deeper_counts(builder: RunBuilder, records: ModuleType) -> None:
    shallow = records.verdict(case="one_image", depth=Depth.TOKENS)
    builder.shard(shallow, records.verdict(case="two_images", depth=Depth.TOKENS), name="tokens")
    deep = records.verdict(VerdictKind.MISMATCH, case="one_image", reason="apart")
    builder.shard(deep, name="logits")
    found = build_matrix(load_run(builder.folder))
    (cell,) = [cell for row in found.rows for cell in row.cells.values()]
    assert [(each.verdict.case, each.verdict.depth) for each in cell] == [
        ("one_image", Depth.LOGITS),
        ("two_images", Depth.TOKENS),
    ]
