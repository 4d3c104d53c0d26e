"""The references of a run's environments: beside each other on a page, in a line, and as data."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.console import Console

from vlm_parity.report.html import DRIFT_FILE, write_report
from vlm_parity.report.load_run import load_run
from vlm_parity.report.summary import build_report_json
from vlm_parity.report.terminal import print_summary
from vlm_parity.schema.array_sketch import sketch_arrays, write_sketch
from vlm_parity.schema.trace import Outcome, Stage
from vlm_parity.schema.verdict import VerdictKind

if TYPE_CHECKING:
    from tests.report.conftest import RunBuilder

ROWS = np.random.default_rng(3).normal(0, 2, (4, 64)).astype(np.float32)
NO_DRIFT = "No drift in 3 cases between transformers 5.9.0 (vllm) and 5.21.0 (lmdeploy)."


@pytest.fixture
def add(builder: RunBuilder, records: ModuleType) -> Any:
    """Write a shard whose references ran with some version of transformers."""

    def write(
        shard: str,
        version: str,
        *changed: str,
        cases: Sequence[str] = ("one", "three", "two"),
        rows: np.ndarray = ROWS,
        **changes: Any,
    ) -> Path:
        environment = records.environment(packages={"torch": "2.13.0", "transformers": version})
        verdicts = []
        for name in cases:
            fields = changes if name in changed else {}
            side = records.trace("transformers", name, **{"environment": environment, **fields})
            verdicts.append(records.verdict(case=name, backend=shard, reference=side))
            folder = builder.folder / "shards" / shard / "traces" / side.model / "reference" / name
            write_sketch(folder, sketch_arrays({"prefill": rows if name in changed else ROWS}))
        return builder.shard(*verdicts, name=shard)

    return write


def headlines(builder: RunBuilder) -> list[str]:
    return [drift.headline for drift in load_run(builder.folder).drifts]


def printed(builder: RunBuilder) -> str:
    output = io.StringIO()
    print_summary(load_run(builder.folder), Console(width=200, file=output))
    return output.getvalue()


def pages(builder: RunBuilder) -> Any:
    index = write_report(load_run(builder.folder))
    return {name: (index.parent / name).read_text() for name in (index.name, DRIFT_FILE)}


def test_missing_drift_is_reported_the_oldest_version_first(builder: RunBuilder, add: Any) -> None:
    add("lmdeploy", "5.21.0")
    add("vllm", "5.9.0")
    assert headlines(builder) == [NO_DRIFT]
    assert f"{NO_DRIFT}\n" in printed(builder)
    assert all(NO_DRIFT in page for page in pages(builder).values())


def test_one_environment_has_nothing_to_be_compared_with(builder: RunBuilder, add: Any) -> None:
    add("a", "5.9.0", cases=("one",))
    add("b", "5.9.0", cases=("two",))
    assert not headlines(builder)
    words = "One environment only: no other version of transformers"
    assert words in printed(builder)
    assert all(words in page for page in pages(builder).values())


def test_parts_of_one_environment_are_one_side(builder: RunBuilder, add: Any) -> None:
    add("a-gw0", "5.9.0", cases=("one",))
    add("a-gw1", "5.9.0", cases=("two",))
    add("b", "5.21.0", cases=("one", "two"))
    assert headlines(builder) == [
        "No drift in 2 cases between transformers 5.9.0 (a-gw0, a-gw1) and 5.21.0 (b)."
    ]


def test_settings_and_notes_make_no_other_environment(
    builder: RunBuilder, records: ModuleType, add: Any
) -> None:
    add("a", "5.9.0")
    noted = records.environment(
        packages={"torch": "2.13.0", "transformers": "5.9.0"}, settings={"a": 1}, workarounds=("n",)
    )
    add("b", "5.9.0", "one", environment=noted)
    assert not headlines(builder)


def test_references_that_did_not_run_make_no_other_environment(
    builder: RunBuilder, records: ModuleType, add: Any
) -> None:
    """For max-size media that an engine does not name; they state its dtype instead of the reference's."""
    packages = {"torch": "2.13.0", "transformers": "5.9.0"}
    skipped = records.environment(packages=packages, dtype="bfloat16")
    add("a", "5.9.0", "one", environment=skipped, outcome=Outcome.UNSUPPORTED)
    assert not headlines(builder)
    assert "One environment only" in printed(builder)


def test_every_two_of_three_environments_are_compared(builder: RunBuilder, add: Any) -> None:
    for shard, version in (("a", "5.9.0"), ("b", "5.10.0"), ("c", "5.21.0")):
        add(shard, version)
    assert len(headlines(builder)) == 3


def test_drift_is_counted_and_its_first_stage_named(builder: RunBuilder, add: Any) -> None:
    add("vllm", "5.9.0")
    add("lmdeploy", "5.21.0", "two", rows=ROWS * 1.01)
    line = "Drift in 1 of 3 cases between transformers 5.9.0 (vllm) and 5.21.0 (lmdeploy); first at prefill."
    assert headlines(builder) == [line]
    run = load_run(builder.folder)
    assert run.passes, "drift alone keeps nothing from passing"
    page = pages(builder)[DRIFT_FILE]
    assert "at the worst position" in page
    assert page.count("<h3>") == 1


def test_a_case_that_one_refuses_drifts_and_one_that_both_refuse_does_not(
    builder: RunBuilder, add: Any
) -> None:
    nothing = dict.fromkeys(("prompt", "input_ids", "spans", "continuation", "greedy"))
    refused = {"outcome": Outcome.REFUSED, "message": "no", **nothing}
    add("vllm", "5.9.0", "one", **refused)
    add("lmdeploy", "5.21.0", "one", "two", **refused)
    (drift,) = load_run(builder.folder).drifts
    assert [case.case for case in drift.drifting_cases] == ["two"]
    assert drift.compared == 3


def test_without_a_case_in_common_nothing_is_claimed(builder: RunBuilder, add: Any) -> None:
    add("vllm", "5.9.0", cases=("one",))
    add("lmdeploy", "5.21.0", cases=("two",))
    assert headlines(builder) == [
        "Nothing to compare between transformers 5.9.0 (vllm) and 5.21.0 (lmdeploy): "
        "no case has an output of both."
    ]


def test_the_page_of_a_case_says_what_the_other_references_do(builder: RunBuilder, add: Any) -> None:
    add("vllm", "5.9.0")
    add("lmdeploy", "5.21.0", "two", rows=ROWS * 1.01)
    folder = write_report(load_run(builder.folder)).parent / "cases"
    words = {
        name: (folder / f"vllm-qwen2_5_vl-vllm-{name}.html").read_text().partition("drift.html")[2][:90]
        for name in ("one", "two")
    }
    assert "transformers 5.21.0 (lmdeploy) agrees with it" in words["one"]
    assert "transformers 5.21.0 (lmdeploy) differs from it at prefill" in words["two"]


def test_the_document_has_every_case_and_stage(builder: RunBuilder, add: Any) -> None:
    add("vllm", "5.9.0")
    add("lmdeploy", "5.21.0", "two", rows=ROWS * np.nan)
    text = json.dumps(build_report_json(load_run(builder.folder)), allow_nan=False)
    document = json.loads(text)
    (drift,) = document["drift"]
    assert (drift["left"]["transformers"], drift["right"]["shards"]) == ("5.9.0", ["lmdeploy"])
    assert (drift["cases"], drift["compared"], drift["drifting"]) == (3, 3, 1)
    assert drift["left"]["environment"] in document["environments"]
    for case in drift["details"]:
        assert [each["stage"] for each in case["stages"]] == list(Stage)
    assert drift["details"][2]["stages"][7]["status"] == "drift"


def test_hostile_text_stays_text(builder: RunBuilder, records: ModuleType, add: Any) -> None:
    hostile = '<script>alert(1)</script>\u202e"'
    add("vllm", "5.9.0")
    add("lmdeploy", "5.21.0", "one", prompt=f"<|im_start|>{hostile}")
    builder.shard(records.verdict(VerdictKind.MATCH, model=hostile), name="other")
    page = pages(builder)[DRIFT_FILE]
    assert "<script" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;" in page
