"""Field recall, and a run held against the catalog."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.verdicts import make_verdict
from vlm_parity.public_reports.catalog import Finding, PublicReport, Status
from vlm_parity.public_reports.page import render_page
from vlm_parity.public_reports.recall import count_recall, find_deviations, read_finding
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Verdict, VerdictKind

DROPPED = Finding(stage="prompt", cause="reasoning dropped")
LIVE = {"status": Status.LIVE, "expected": DROPPED, "found": DROPPED}


def make_report(**changes: Any) -> PublicReport:
    asked = {"backend": "vllm", "model": "qwen2_vl", "case": "one_image", "status": Status.AGREES}
    fixed = {"name": "a", "title": "t", "upstream": ("https://host/1",), "reported": "r"}
    return PublicReport.model_validate(fixed | ({} if "missing" in changes else asked) | changes)


def test_a_report_that_cannot_be_written_counts_against_the_recall() -> None:
    missed = make_report(**LIVE | {"found": None})
    elsewhere = make_report(**LIVE | {"found": Finding(stage="input_ids")})
    general = make_report(**LIVE | {"found": Finding(stage="prompt", cause="text part dropped")})
    recall = count_recall(
        [make_report(), make_report(missing="m"), make_report(**LIVE), missed, elsewhere, general]
    )
    assert recall.model_dump() == {
        "reports": 6,
        "written": 5,
        "live": 4,
        "found": 3,
        "right_stage": 2,
        "right_cause": 1,
    }


findings = st.none() | st.sampled_from([DROPPED, Finding(stage="prompt"), Finding(stage="media")])
reports = st.one_of(
    st.just(make_report()),
    st.just(make_report(missing="m")),
    findings.map(lambda found: make_report(**LIVE | {"found": found})),
)


@given(st.lists(reports))
def test_each_count_is_a_part_of_the_one_before(listed: list[PublicReport]) -> None:
    counts = list(count_recall(listed).model_dump().values())
    assert counts == sorted(counts, reverse=True)
    assert render_page(listed).count("\n| [1") == 0 == render_page(listed).count("None")


def find(report: PublicReport, verdict: Verdict) -> list[str]:
    return list(find_deviations([report], [verdict]))


def test_a_run_that_finds_what_the_catalog_says_deviates_in_nothing() -> None:
    match = make_verdict()
    asked = {"model": match.model, "case": match.case, "backend": match.backend}
    assert read_finding(match) is None
    assert find(make_report(**asked), match) == []
    assert find(make_report(**asked | {"case": "another"}), match) == []


def test_a_report_that_is_no_longer_found_or_differs_again_is_named() -> None:
    match = make_verdict()
    asked = {"model": match.model, "case": match.case, "backend": match.backend}
    (line,) = find(make_report(**asked | LIVE), match)
    assert line == "a: no difference, and the catalog says prompt, reasoning dropped"
    different = match.model_copy(update={"kind": "mismatch", "first_divergence": Stage.MEDIA})
    (line,) = find(make_report(**asked), different)
    assert line == "a: media, no cause, and the catalog says no difference"


@pytest.mark.parametrize("kind", [VerdictKind.UNSUPPORTED, VerdictKind.HARNESS_ERROR])
def test_a_report_that_was_not_compared_is_named(kind: VerdictKind) -> None:
    verdict = make_verdict().model_copy(update={"kind": kind, "reason": "why"})
    asked = {"model": verdict.model, "case": verdict.case, "backend": verdict.backend}
    assert find(make_report(**asked), verdict) == [f"a: was not compared: {kind}: why"]


def test_the_page_escapes_what_others_wrote() -> None:
    page = render_page([make_report(title="a | b <script>\n# c")])
    assert r"a \| b &lt;script&gt; # c" in page.replace("\\n", " ")
