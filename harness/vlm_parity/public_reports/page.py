"""The catalog as a page in Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from vlm_parity.public_reports.catalog import Finding, PublicReport, Status
from vlm_parity.public_reports.recall import Recall, count_recall
from vlm_parity.util.text import escape_invisible

_HEAD = """\
# Public reports: the field recall

Reports of parity bugs from the trackers of engines, models and trainers, as files in `cases/reports/`. The
page is written by `parity reports --markdown docs/results/public_reports.md`.

*Written*: a case can say what the report says. *Live*: the bug is in a release that was asked, here or by a
[replay](replays.md). A report that cannot be written counts against the recall; one whose release was not
asked is neither found nor missed.

"""
_ESCAPED = str.maketrans({"|": r"\|", "<": "&lt;", ">": "&gt;", "\n": " "})


def render_page(reports: Iterable[PublicReport]) -> str:
    """Render the page: the counts, what can be written, and what cannot."""
    listed = sorted(reports, key=lambda report: report.name)
    written = [report for report in listed if report.is_written]
    rest = [report for report in listed if not report.is_written]
    return (
        f"{_HEAD}{format_recall(count_recall(listed))}\n\n## Reports that can be written\n\n"
        "| report | symptom | reported for | asked by | outcome | |\n|---|---|---|---|---|---|\n"
        + "".join(_render_written(report) for report in written)
        + "\n## Reports that cannot be written yet\n\n| report | symptom | reported for | what is missing |\n"
        "|---|---|---|---|\n" + "".join(_render_missing(report) for report in rest)
    )


def format_recall(recall: Recall) -> str:
    """Format the counts as a sentence."""
    return (
        f"Of {recall.reports} reports {recall.written} can be written. "
        f"{recall.live} are live: {recall.found} of them are found, {recall.right_stage} at the right stage, "
        f"{recall.right_cause} with the right cause."
    )


def _render_written(report: PublicReport) -> str:
    cells = (
        _link(report),
        report.title,
        report.reported,
        f"`{report.command}`",
        _outcome(report),
        report.note,
    )
    return _row(cells)


def _render_missing(report: PublicReport) -> str:
    return _row((_link(report), report.title, report.reported, report.missing))


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(escape_invisible(cell).translate(_ESCAPED) for cell in cells) + " |\n"


def _link(report: PublicReport) -> str:
    links = [f"[{url.removeprefix('https://github.com/')}]({url})" for url in report.upstream]
    return ", ".join(links)


def _outcome(report: PublicReport) -> str:
    if report.status is Status.AGREES:
        return "agrees in the releases of these environments"
    if not report.is_live:
        return "not asked"
    expected = _format(report.expected)
    if report.found is None:
        return f"**not found**; expected {expected}"
    where = "" if report.status is Status.LIVE else " by the replay"
    if report.has_right_cause:
        return f"found{where}: {expected}"
    return f"found{where}: {_format(report.found)}; expected {expected}"


def _format(finding: Finding | None) -> str:
    if finding is None:
        return "nothing"
    return f"`{finding.stage}`, {finding.cause or 'no cause'}"
