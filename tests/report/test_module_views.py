"""Located modules on a case page and in an issue."""

from __future__ import annotations

import json
from types import ModuleType
from typing import TYPE_CHECKING, Any

from vlm_parity.report import module_views as views
from vlm_parity.report.html import write_report
from vlm_parity.report.issue import build_issue
from vlm_parity.report.load_run import load_run
from vlm_parity.schema.location import ComparedModule, Location, ModuleDifference
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import VerdictKind

if TYPE_CHECKING:
    from tests.report.conftest import RunBuilder

ACT = "model.visual.blocks.0.mlp.act"


def difference(**fields: Any) -> ModuleDifference:
    known = {
        "module": ACT,
        "class_path": "transformers.activations.QuickGELUActivation",
        "point": "output",
        "engine_module": "visual.blocks.0.mlp.act",
        "engine_class_path": "torch.nn.modules.activation.GELU",
        "distance": 0.0107,
        "noise": 4.6e-8,
        "limit_ratio": 6e4,
        "cause": "activation differs",
    }
    return ModuleDifference(**{**known, **fields})


def compared(name: str, status: str = "agrees") -> ComparedModule:
    return ComparedModule(module=name, class_path="a.B", status=status)


LOCATION = Location(
    stages=(Stage.VISION,),
    differences=(difference(),),
    modules=(compared("a"), compared("b"), compared(ACT, "differs"), compared("c")),
    values=9,
    agreeing=8,
)


def test_a_location_is_one_sentence() -> None:
    assert views.summarize_location(LOCATION, "lmdeploy") == (
        f"First differing module: {ACT}, its output: QuickGELUActivation in transformers, GELU in lmdeploy."
    )
    nothing = LOCATION.model_copy(update={"differences": ()})
    assert "No module differs: 8 of 9 values agree" in views.summarize_location(nothing, "vllm")
    problem = Location(problem="no module was called")
    assert views.summarize_location(problem, "vllm") == "The modules were not compared: no module was called."


def test_modules_of_one_status_are_grouped() -> None:
    groups = views.group_modules(LOCATION.modules)
    assert [(group.status, group.summary) for group in groups] == [
        ("agrees", "2 modules, a to b"),
        ("differs", ACT),
        ("agrees", "c"),
    ]


def test_places_rows_and_files_in_words() -> None:
    inline = difference(point="input [0]", made_of=("l.0", "merger.1"), rows=((4, 73), (80, 80)))
    assert views.describe_place(inline) == "computed inline before it, made from l.0 and merger.1"
    assert views.describe_place(difference(point="attention query")) == "its attention query"
    assert views.describe_rows(inline) == "rows 4 to 73, 80"
    assert views.describe_rows(difference()) == "all rows"
    assert views.describe_rows(difference(rows=tuple((n, n) for n in range(0, 12, 2)))).endswith(
        "2 more ranges"
    )
    assert views.describe_step(difference(step=2)) == "decoding step 2"
    assert views.get_file("transformers.activations.GELU") == "transformers/activations.py"


def test_the_page_and_the_issue_name_the_module(builder: RunBuilder, records: ModuleType) -> None:
    verdict = records.verdict(VerdictKind.MISMATCH, records.logits(Stage.PREFILL, [2.0], first=0))
    builder.shard(verdict.model_copy(update={"locations": (LOCATION,)}))
    run = load_run(builder.folder)
    write_report(run)
    (page,) = (builder.folder / "cases").glob("*.html")
    text = page.read_text(encoding="utf-8")
    assert f"<code>{ACT}</code>" in text
    assert "activation differs" in text
    assert text.count("First differing module") == 2 + 1  # at the top, in its section, and in the issue
    (location,) = json.loads((builder.folder / "report.json").read_text())["verdicts"][0]["locations"]
    assert [each["module"] for each in location["differences"]] == [ACT]
    issue = build_issue(run.verdicts[0], None)
    assert "**Modules** First differing module" in issue
    assert "QuickGELUActivation" in issue


def test_causes_are_grouped_in_their_order() -> None:
    location = LOCATION.model_copy(
        update={
            "differences": (
                difference(cause="norm differs"),
                difference(),
                difference(cause="norm differs", module="m"),
            )
        }
    )
    groups = views.group_by_cause(location)
    assert [(cause, len(found)) for cause, found in groups] == [
        ("norm differs", 2),
        ("activation differs", 1),
    ]
