"""The results of the self-check as a Markdown document, for docs/results/."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from vlm_parity.report.markdown import format_table
from vlm_parity.report.page_templates import format_number
from vlm_parity.selfcheck.cause_grade import CONFIDENT, REQUIRED_SPECIFIC_SHARE, CauseGrade
from vlm_parity.selfcheck.page import count_detections, format_headline, format_share
from vlm_parity.selfcheck.record import FaultRow, SelfcheckRecord
from vlm_parity.util.text import escape_markdown

_HEADER = """\
# Self-check results

`parity selfcheck` injects faults into the real engines while they run, one at a time, and removes them
again; clean runs stand between them. `tox -e selfcheck` checks both engines and writes
`reports/selfcheck/selfcheck.html`, which shows every single row. This page is generated from
`reports/selfcheck/selfcheck.json`:
`parity selfcheck --report-only --run reports/selfcheck --markdown docs/results/selfcheck.md`.

A fault is **visible** if it changes the results of the engine by more than the noise of the dtype, measured
against the same engine without it. An invisible fault is never counted as found. The **limit ratio** is the
worst ratio of a difference to its limit (see [Noise floor](../explanations/noise_floor.md)); stages that are
compared exactly have none.
"""


def render_markdown(check: SelfcheckRecord) -> str:
    """Render the whole document."""
    blocks = [
        _HEADER,
        f"**{format_headline(check)}.**",
        *_detection_table(check),
        *_fault_table(check),
        *_module_table(check),
        *_control_table(check),
        _format_versions(check),
    ]
    return "\n\n".join(block.strip() for block in blocks) + "\n"


def _detection_table(check: SelfcheckRecord) -> Iterator[str]:
    rows = [
        (
            counts.dtype,
            str(counts.rows),
            str(counts.visible),
            str(counts.detected),
            str(counts.is_stage_correct),
            *(str(number) for number in counts.grades.values()),
            "-" if counts.specific_share is None else format_share(counts.specific_share),
            str(counts.misleading),
            "-" if counts.smallest_limit_ratio is None else format_number(counts.smallest_limit_ratio),
            format_number(counts.largest_clean),
        )
        for counts in count_detections(check)
    ]
    header = (
        "dtype",
        "injected",
        "visible",
        "detected",
        "right stage",
        *(str(grade) for grade in CauseGrade),
    )
    yield "## Sensitivity"
    yield (
        "The cause of a detected fault is **specific** if it names the fault, **general** if it names the "
        "part of the engine that differs, **wrong** if it is another one, and **none** without a diagnosis. "
        f"The aim: no wrong cause above a confidence of {CONFIDENT}, and at least "
        f"{format_share(REQUIRED_SPECIFIC_SHARE)} specific."
    )
    yield format_table(
        (
            *header,
            "share of specific",
            f"wrong above {CONFIDENT}",
            "smallest limit ratio of a fault",
            "largest limit ratio without a fault",
        ),
        rows,
    )


def _fault_table(check: SelfcheckRecord) -> Iterator[str]:
    """Yield a table with a line for each fault and a column for each dtype."""
    dtypes = [counts.dtype for counts in count_detections(check)]
    rows = []
    for name in dict.fromkeys(row.fault for row in check.faults):
        rows_of_fault = [row for row in check.faults if row.fault == name]
        backends = dict.fromkeys(row.backend for row in rows_of_fault)
        engines = "; ".join(_format_models(rows_of_fault, backend) for backend in backends)
        cells = [_format_cell([row for row in rows_of_fault if row.dtype == dtype]) for dtype in dtypes]
        first = rows_of_fault[0]
        grades = Counter(row.grade for row in rows_of_fault if row.visible and row.detected)
        named = ", ".join(f"{grades[grade]} {grade}" for grade in CauseGrade if grades[grade])
        rows.append((name, engines, str(first.expected_stage), first.expected_cause, named or "-", *cells))
    yield "## Faults"
    yield (
        "The columns of the dtypes show the numbers of faults found, visible and injected, and the smallest "
        "limit ratio of the visible ones. A fault counts as found if it is detected at the stage in this "
        "table, with a specific or general cause. The grades are those of all dtypes."
    )
    yield format_table(("fault", "injected into", "stage", "cause", "grades", *dtypes), rows)


def _format_models(rows: list[FaultRow], backend: str) -> str:
    models = sorted({row.model for row in rows if row.backend == backend})
    return f"{backend}: {', '.join(models)}"


def _format_cell(rows: list[FaultRow]) -> str:
    visible = [row for row in rows if row.visible]
    found = sum(row.passes for row in visible)
    ratios = [row.limit_ratio for row in visible if row.limit_ratio is not None]
    smallest = f", {format_number(min(ratios))}x" if ratios else ""
    return f"{found} of {len(visible)} of {len(rows)}{smallest}" if rows else "-"


def _module_table(check: SelfcheckRecord) -> Iterator[str]:
    """Yield a table with a line for each fault of a module."""
    if not check.modules:
        return
    rows = []
    for name in dict.fromkeys(row.fault for row in check.modules):
        rows_of_fault = [row for row in check.modules if row.fault == name]
        engines = "; ".join(
            f"{backend}: {', '.join(sorted({row.model for row in rows_of_fault if row.backend == backend}))}"
            for backend in dict.fromkeys(row.backend for row in rows_of_fault)
        )
        located = sum(row.passes for row in rows_of_fault)
        rows.append((name, engines, rows_of_fault[0].expected_cause, f"{located} of {len(rows_of_fault)}"))
    yield "## Located modules"
    yield (
        "Faults in the output of one module, in float32. A fault counts as located if the module of the "
        "reference is named with the cause, and nothing else is."
    )
    yield format_table(("fault", "injected into", "cause", "located"), rows)


def _control_table(check: SelfcheckRecord) -> Iterator[str]:
    rows = []
    for control in dict.fromkeys(row.control for row in check.controls):
        rows_of_control = [row for row in check.controls if row.control == control]
        comparisons, alarms = (
            sum(getattr(row, name) for row in rows_of_control) for name in ("comparisons", "false_alarms")
        )
        rows.append(
            (
                control,
                str(comparisons),
                str(alarms),
                format_number(max(row.largest_limit_ratio for row in rows_of_control)),
            )
        )
    yield "## Clean controls"
    yield "Engines without a fault; each stage of each case is one comparison."
    yield format_table(("control", "comparisons", "false alarms", "largest limit ratio"), rows)


def _format_versions(check: SelfcheckRecord) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in check.packages.items())
    return escape_markdown(f"Versions: {versions}.")
