"""What a check found, short enough for a terminal, and as an exit code."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vlm_parity.report.entries import list_stages
from vlm_parity.report.load_run import LoadedRun
from vlm_parity.report.summary import INDEX_FILE, format_headline, list_skip_reasons
from vlm_parity.report.terminal import print_causes
from vlm_parity.schema.trace import Depth, Stage
from vlm_parity.schema.verdict import DiffStatus, Verdict, VerdictKind
from vlm_parity.util.exit_codes import FAILED, NOT_COMPARED, PASSED

_STATUS_LABELS = {
    PASSED: ("It passes.", "bold green"),
    FAILED: ("It does not pass: something differs.", "bold red"),
    NOT_COMPARED: ("It does not pass: something could not be compared.", "bold red"),
}
_FAILED_KINDS = {VerdictKind.MISMATCH, VerdictKind.FIXED}
_STATUS_LEGEND = {VerdictKind.MATCH, VerdictKind.MISMATCH, VerdictKind.KNOWN, VerdictKind.REFUSED}
"""The kinds of which the table and the causes tell all there is."""


def select_exit_code(run: LoadedRun | None, absent: Mapping[str, str]) -> int:
    """``PASSED``, ``FAILED`` or ``NOT_COMPARED``.

    Args:
        run: what was compared; None where nothing was.
        absent: why a backend was not asked, or not to the end, by its name.
    """
    if run is not None and any(filed.verdict.kind in _FAILED_KINDS for filed in run.verdicts):
        return FAILED
    return PASSED if run is not None and run.passes and not absent else NOT_COMPARED


def print_result(run: LoadedRun | None, depth: Depth, absent: Mapping[str, str], console: Console) -> None:
    """Prints stages by backends, why they part ways, what was not compared, and where the report is."""
    if run is not None:
        if run.verdicts:
            console.print(_table(run, depth))
        print_causes(run, console)
        for line in _remarks(run, depth):
            console.print(escape(line), style="yellow", highlight=False)
        for obstacle in list_skip_reasons(run):
            console.print(escape(obstacle), style="red", highlight=False, soft_wrap=True)
    for reason in absent.values():
        console.print(escape(reason), style="red", highlight=False, soft_wrap=True)
    words, style = _STATUS_LABELS[select_exit_code(run, absent)]
    said = f"{format_headline(run)}. {words}" if run is not None else words
    console.print(escape(said), style=style, highlight=False)
    if run is not None:
        console.print(escape(str(run.folder / INDEX_FILE)), highlight=False, soft_wrap=True)


def _table(run: LoadedRun, depth: Depth) -> Table:
    by_way = _group_by_label(run)
    table = Table(title=None)
    table.add_column("stage")
    for way in by_way:
        table.add_column(escape(way))
    for stage in _stages(depth):
        table.add_row(stage, *(_cell(stage, verdicts) for verdicts in by_way.values()))
    return table


def _group_by_label(run: LoadedRun) -> dict[str, list[Verdict]]:
    found: dict[str, list[Verdict]] = defaultdict(list)
    for filed in run.verdicts:
        found[filed.verdict.label].append(filed.verdict)
    return {way: found[way] for way in sorted(found)}


def _stages(depth: Depth) -> list[Stage]:
    return [stage for stage in Stage if depth is Depth.LOGITS or stage.depth is depth]


def _cell(stage: Stage, verdicts: list[Verdict]) -> str:
    """How many cases are the same at a stage, differ, and were not compared; what differs after another
    stage did is no finding of its own.
    """
    diffs = [diff for verdict in verdicts for diff in list_stages(verdict) if diff.stage is stage]
    counts = Counter("consequence" if diff.consequence else str(diff.status) for diff in diffs)
    colours = {DiffStatus.MATCH: "green", DiffStatus.MISMATCH: "red"}
    words = (DiffStatus.MATCH, DiffStatus.MISMATCH, "consequence", DiffStatus.NOT_COMPARED)
    parts = [f"[{colours.get(word, 'dim')}]{counts[word]} {word}[/]" for word in words if counts[word]]  # type: ignore[call-overload]
    return ", ".join(parts)


def _remarks(run: LoadedRun, depth: Depth) -> Iterator[str]:
    for way, verdicts in _group_by_label(run).items():
        for (kind, reason), cases in _unexplained(verdicts).items():
            yield f"{way}: {len(cases)} {kind}: {reason} ({', '.join(cases)})"
        for stage in _stages(depth):
            diffs = [diff for verdict in verdicts for diff in list_stages(verdict) if diff.stage is stage]
            if all(diff.status is DiffStatus.NOT_COMPARED for diff in diffs):
                # The most frequent reason is the stage's; the others are those of single cases.
                reason, _ = Counter(diff.message for diff in diffs).most_common(1)[0]
                yield f"{way}: {stage} was compared in no case: {reason}"


def _unexplained(verdicts: list[Verdict]) -> dict[tuple[str, str], list[str]]:
    """The cases that an engine refused, say, by kind and the first line of the reason."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.kind not in _STATUS_LEGEND:
            found[verdict.kind, verdict.reason.partition("\n")[0]].append(verdict.case)
    return found
