"""Result of a check as a table on a terminal and as an exit code."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vlm_parity.report.entries import list_stages
from vlm_parity.report.load_run import LoadedRun
from vlm_parity.report.summary import INDEX_FILE, format_headline, list_run_problems
from vlm_parity.report.terminal import print_causes
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus, StageDiff, Verdict, VerdictKind
from vlm_parity.util.exit_codes import FAILED, NOT_COMPARED, PASSED
from vlm_parity.util.terminal import make_text, print_text

_OUTCOMES = {
    PASSED: ("It passes.", "bold green"),
    FAILED: ("It does not pass: something differs.", "bold red"),
    NOT_COMPARED: ("It does not pass: something could not be compared.", "bold red"),
}
_FAILED_KINDS = {VerdictKind.MISMATCH, VerdictKind.UNSTABLE, VerdictKind.FIXED}
_EXPLAINED_KINDS = {VerdictKind.MATCH, VerdictKind.MISMATCH, VerdictKind.KNOWN, VerdictKind.REFUSED}
"""The kinds that the table and the list of causes explain; the others get a line each."""
_COLORS = {"match": "green", "mismatch": "red"}


def select_exit_code(run: LoadedRun | None, absent: Mapping[str, str]) -> int:
    """Return ``PASSED``, ``FAILED`` or ``NOT_COMPARED``.

    Args:
        run: the comparisons; None if there are none.
        absent: the reason by backend, for each backend that did not run to its end.
    """
    if run is not None and any(entry.verdict.kind in _FAILED_KINDS for entry in run.verdicts):
        return FAILED
    return PASSED if run is not None and run.passes and not absent else NOT_COMPARED


def print_result(run: LoadedRun | None, depth: Depth, absent: Mapping[str, str], console: Console) -> None:
    """Print stages by backends, the causes of differences, the gaps, the outcome, and the path of the report.

    Args:
        run: as in ``select_exit_code``.
        depth: the depth of the check; deeper stages are not listed.
        absent: as in ``select_exit_code``.
        console: the terminal.
    """
    if run is not None:
        if run.verdicts:
            console.print(_build_table(run, depth))
        print_causes(run, console)
        for line in _list_remarks(run, depth):
            print_text(console, line, "yellow")
        for reason in list_run_problems(run):
            print_text(console, reason, "red")
    for reason in absent.values():
        print_text(console, reason, "red")
    outcome, style = _OUTCOMES[select_exit_code(run, absent)]
    sentence = f"{format_headline(run)}. {outcome}" if run is not None else outcome
    print_text(console, sentence, style)
    if run is not None:
        print_text(console, str(run.folder / INDEX_FILE))


def _build_table(run: LoadedRun, depth: Depth) -> Table:
    by_label = _group_by_label(run)
    table = Table(title=None)
    table.add_column("stage")
    for label in by_label:
        table.add_column(make_text(label))
    for stage in _list_stages(depth):
        table.add_row(stage, *(_format_cell(stage, verdicts) for verdicts in by_label.values()))
    return table


def _group_by_label(run: LoadedRun) -> dict[str, list[Verdict]]:
    groups: dict[str, list[Verdict]] = defaultdict(list)
    for entry in run.verdicts:
        groups[entry.verdict.label].append(entry.verdict)
    return {label: groups[label] for label in sorted(groups)}


def _list_stages(depth: Depth) -> list[Stage]:
    return [stage for stage in Stage if depth is Depth.LOGITS or stage.depth is depth]


def _get_diffs(stage: Stage, verdicts: list[Verdict]) -> list[StageDiff]:
    return [diff for verdict in verdicts for diff in list_stages(verdict) if diff.stage is stage]


def _format_cell(stage: Stage, verdicts: list[Verdict]) -> Text:
    """Return the number of cases by status; a mismatch that follows from an earlier one counts separately."""
    counts = Counter(
        "consequence" if diff.consequence else str(diff.status) for diff in _get_diffs(stage, verdicts)
    )
    statuses = (
        str(DiffStatus.MATCH),
        str(DiffStatus.MISMATCH),
        "consequence",
        str(DiffStatus.NOT_COMPARED),
    )
    return Text(", ").join(
        Text(f"{counts[status]} {status}", _COLORS.get(status, "dim"))
        for status in statuses
        if counts[status]
    )


def _list_remarks(run: LoadedRun, depth: Depth) -> Iterator[str]:
    for label, verdicts in _group_by_label(run).items():
        for (kind, reason), cases in _group_unexplained(verdicts).items():
            yield f"{label}: {len(cases)} {kind}: {reason} ({', '.join(cases)})"
        for stage in _list_stages(depth):
            diffs = _get_diffs(stage, verdicts)
            if all(diff.status is DiffStatus.NOT_COMPARED for diff in diffs):
                # The most frequent reason concerns the stage; the others concern single cases.
                reason, _ = Counter(diff.message for diff in diffs).most_common(1)[0]
                yield f"{label}: {stage} was not compared in any case: {reason}"


def _group_unexplained(verdicts: list[Verdict]) -> dict[tuple[str, str], list[str]]:
    """Group the cases of other kinds, such as errors, by kind and the first line of the reason."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.kind not in _EXPLAINED_KINDS:
            groups[verdict.kind, verdict.reason.partition("\n")[0]].append(verdict.case)
    return groups
