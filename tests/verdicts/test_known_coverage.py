"""The coverage of known issues: their verdicts, what may hide behind them, and entries that are too broad."""

from __future__ import annotations

from typing import Any

from tests.support.traces import ARRAYS, FEATURES, PREFILL, TraceFiles, make_trace
from tests.verdicts.test_known_issues import TODAY, entry
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Verdict
from vlm_parity.verdicts.known_coverage import Coverage, measure_coverage
from vlm_parity.verdicts.known_issues import apply_known_issues


def differing(trace_files: TraceFiles, **changes: Any) -> Verdict:
    """Decide a mismatch at the vision tower from which one at prefill follows."""
    arrays = {**ARRAYS, "vision": FEATURES * 1.02, "prefill": PREFILL + 0.1 * PREFILL**2}
    trace_files.write(trace_files.tested, make_trace(**changes), arrays)
    return trace_files.decide_verdict()


def measure(trace_files: TraceFiles, **changes: Any) -> Coverage:
    """Measure the coverage of one entry in a run in which it was applied."""
    issue = entry(versions={}, **changes)
    (coverage,) = measure_coverage([issue], [apply_known_issues(differing(trace_files), [issue], TODAY)])
    return coverage


def test_an_entry_is_shown_with_its_verdicts_causes_and_what_may_hide(trace_files: TraceFiles) -> None:
    coverage = measure(trace_files)
    assert [verdict.case for verdict in coverage.verdicts] == ["one_image"]
    assert list(coverage.causes) == [coverage.verdicts[0].diagnoses[0].cause]
    assert coverage.following == {Stage.PREFILL: 1}
    assert coverage.not_compared == {}


def test_stages_behind_other_ids_are_hidden(trace_files: TraceFiles) -> None:
    verdict = differing(trace_files, input_ids=(1, 2))
    (coverage,) = measure_coverage([entry(versions={}, stage="input_ids")], [verdict])
    assert set(coverage.not_compared) == {Stage.POSITIONS, Stage.PREFILL, Stage.DECODE}


def test_an_entry_with_neither_cause_nor_size_is_warned_of(trace_files: TraceFiles) -> None:
    coverage = measure(trace_files)
    cause = next(iter(coverage.causes))
    assert list(coverage.warnings) == [
        f"explains any cause; here: {cause!r}",
        f"explains any size; the largest limit_ratio here is {coverage.largest:.4g}",
    ]


def test_an_entry_with_both_is_not(trace_files: TraceFiles) -> None:
    coverage = measure(trace_files, cause="vision*", at_most={"vision": {"limit_ratio": 1e9}})
    assert coverage.verdicts
    assert list(coverage.warnings) == []


def test_an_entry_of_this_model_that_explains_nothing_is_warned_of(trace_files: TraceFiles) -> None:
    assert list(measure(trace_files, case="two_images").warnings) == ["explains nothing in this run"]


def test_entries_of_other_models_are_left_out(trace_files: TraceFiles) -> None:
    assert measure_coverage([entry(model="llava")], [differing(trace_files)]) == []
