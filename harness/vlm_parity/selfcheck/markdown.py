"""The self-check as a Markdown document, for docs/."""

from __future__ import annotations

from collections.abc import Iterator

from vlm_parity.report.html import format_number
from vlm_parity.report.markdown import format_table
from vlm_parity.selfcheck.page import count_detections, format_headline
from vlm_parity.selfcheck.record import FaultRow, SelfcheckRecord

_HEADER = """\
# The self-check

`parity selfcheck` plants faults in the real engines while they run, one at a time, and takes them out
again; clean runs stand between them. `tox -e selfcheck` does it for both engines and writes
`reports/selfcheck/selfcheck.html`, where every row can be read. This page is made from
`reports/selfcheck/selfcheck.json` (`parity selfcheck --join --run reports/selfcheck --markdown
docs/selfcheck.md`).

A fault is **visible** where it changes what the engine does by more than the noise of the dtype, measured
against the same engine without it. What is not visible is never counted as found. The **margin** is the
worst ratio over its limit (see [noise.md](noise.md)); where a stage is compared exactly there is none.
"""


def render_markdown(check: SelfcheckRecord) -> str:
    """The whole document."""
    blocks = [
        _HEADER,
        f"**{format_headline(check)}.**",
        *_detection_table(check),
        *_fault_table(check),
        *_clean_table(check),
        _versions(check),
    ]
    return "\n\n".join(block.strip() for block in blocks) + "\n"


def _detection_table(check: SelfcheckRecord) -> Iterator[str]:
    rows = [
        (
            tally.dtype,
            str(tally.rows),
            str(tally.visible),
            str(tally.detected),
            str(tally.is_stage_correct),
            str(tally.is_cause_correct),
            "-" if tally.smallest_limit_ratio is None else format_number(tally.smallest_limit_ratio),
            format_number(tally.largest_clean),
        )
        for tally in count_detections(check)
    ]
    header = ("dtype", "planted", "visible", "detected", "right stage", "right cause")
    yield "## How sensitive it is"
    yield format_table((*header, "smallest fault, times the limit", "largest clean, times the limit"), rows)


def _fault_table(check: SelfcheckRecord) -> Iterator[str]:
    """A line a fault; each dtype has a column: found of visible of planted, and the smallest margin."""
    dtypes = [tally.dtype for tally in count_detections(check)]
    rows = []
    for name in dict.fromkeys(row.fault for row in check.faults):
        same = [row for row in check.faults if row.fault == name]
        engines = "; ".join(_models(same, backend) for backend in dict.fromkeys(row.backend for row in same))
        cells = [_cell([row for row in same if row.dtype == dtype]) for dtype in dtypes]
        rows.append((name, engines, str(same[0].expected_stage), same[0].expected_cause, *cells))
    yield "## The faults"
    yield (
        "Found, of those visible, of those planted; the smallest margin of the visible ones. A fault counts "
        "as found where it is detected, at the stage and with the cause that stand here."
    )
    yield format_table(("fault", "planted in", "stage", "cause", *dtypes), rows)


def _models(rows: list[FaultRow], backend: str) -> str:
    models = sorted({row.model for row in rows if row.backend == backend})
    return f"{backend}: {', '.join(models)}"


def _cell(rows: list[FaultRow]) -> str:
    visible = [row for row in rows if row.visible]
    found = sum(row.good for row in visible)
    margins = [row.limit_ratio for row in visible if row.limit_ratio is not None]
    shown = f", {format_number(min(margins))}x" if margins else ""
    return f"{found} of {len(visible)} of {len(rows)}{shown}" if rows else "-"


def _clean_table(check: SelfcheckRecord) -> Iterator[str]:
    rows = []
    for control in dict.fromkeys(row.control for row in check.clean):
        same = [row for row in check.clean if row.control == control]
        comparisons, alarms = (
            sum(getattr(row, name) for row in same) for name in ("comparisons", "false_alarms")
        )
        rows.append(
            (
                control,
                str(comparisons),
                str(alarms),
                format_number(max(row.largest_limit_ratio for row in same)),
            )
        )
    yield "## Clean controls"
    yield "An engine without a fault; one stage of one case is one comparison."
    yield format_table(("control", "comparisons", "false alarms", "largest, times the limit"), rows)


def _versions(check: SelfcheckRecord) -> str:
    return "Versions: " + ", ".join(f"{name} {version}" for name, version in check.packages.items()) + "."
