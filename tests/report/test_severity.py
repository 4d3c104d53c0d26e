"""Severity: the effect of a verdict on the output."""

from __future__ import annotations

import json
import math
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from tests.support.verdicts import make_failure, make_verdict
from vlm_parity.report.html import write_report
from vlm_parity.report.load_run import load_run
from vlm_parity.report.severity import Severity, measure_severity
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import VerdictKind

if TYPE_CHECKING:
    from tests.report.conftest import RunBuilder


def test_greedy_tokens_change_if_their_stage_differs() -> None:
    assert measure_severity(make_verdict({Stage.GREEDY: 1})).greedy_changes is True
    assert measure_severity(make_verdict({Stage.PREFILL: 9})).greedy_changes is False
    assert measure_severity(make_verdict(not_compared=[Stage.GREEDY])).greedy_changes is None


def test_the_largest_divergence_is_that_of_the_worst_position(records: ModuleType) -> None:
    prefill = records.logits(Stage.PREFILL, [0.1, 0.5], first=0)
    decode = records.logits(Stage.DECODE, [0.3], first=124, consequence=True)
    verdict = records.verdict(VerdictKind.MISMATCH, prefill, decode)
    assert measure_severity(verdict).largest_kl == pytest.approx(0.25)


def test_a_divergence_that_is_no_number_is_the_largest(records: ModuleType) -> None:
    prefill = records.logits(Stage.PREFILL, [0.1, 0.5], first=0)
    evidence = prefill.evidence.model_copy(update={"kl": (math.nan, 0.25)})
    verdict = records.verdict(VerdictKind.MISMATCH, prefill.model_copy(update={"evidence": evidence}))
    assert measure_severity(verdict).largest_kl == math.inf


def test_the_distance_is_the_largest_of_the_judged_stages() -> None:
    verdict = make_verdict({Stage.VISION: 40.0}, margins={Stage.PREFILL: 0.7})
    assert measure_severity(verdict).limit_ratio == 40.0
    consequence = verdict.stage(Stage.VISION).model_copy(update={"consequence": True})
    stages = tuple(consequence if diff.stage is Stage.VISION else diff for diff in verdict.stages)
    assert measure_severity(verdict.model_copy(update={"stages": stages})).limit_ratio == 0.7


def test_a_comparison_on_given_values_counts_for_the_distance() -> None:
    verdict = make_verdict({Stage.PREFILL: 40.0})
    diff = verdict.stage(Stage.PREFILL)
    given = diff.model_copy(update={"metrics": {"limit_ratio": 3.0}, "condition": Condition.FEATURES})
    behind = diff.model_copy(update={"consequence": True, "conditioned": given})
    stages = tuple(behind if diff.stage is Stage.PREFILL else diff for diff in verdict.stages)
    assert measure_severity(verdict.model_copy(update={"stages": stages})).limit_ratio == 3.0


def test_nothing_is_known_of_a_failure() -> None:
    assert measure_severity(make_failure()) == Severity(None, None, None)


def test_report_json_holds_the_severity(builder: RunBuilder, records: ModuleType) -> None:
    prefill = records.logits(Stage.PREFILL, [0.5], first=0)
    builder.shard(records.verdict(VerdictKind.MISMATCH, prefill))
    write_report(load_run(builder.folder))
    (verdict,) = json.loads((builder.folder / "report.json").read_text())["verdicts"]
    assert verdict["severity"] == {"greedy_changes": False, "largest_kl": 0.25, "limit_ratio": None}
