"""The pages of the report: an index, a page for each verdict, model and backend, and ``report.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Set
from itertools import chain
from pathlib import Path

from vlm_parity.report import case_views as views
from vlm_parity.report import module_views, position_views
from vlm_parity.report.case_media import read_output_tails
from vlm_parity.report.causes import group_by_cause
from vlm_parity.report.change_section import build_change_section
from vlm_parity.report.drifts import find_case_drift, format_drifts
from vlm_parity.report.entries import ShardEntry, VerdictEntry, list_stages
from vlm_parity.report.environments import build_environment_pairs, build_environment_rows
from vlm_parity.report.issue import build_issue
from vlm_parity.report.load_run import PAGE_FOLDER, LoadedRun
from vlm_parity.report.matrix import Matrix, build_matrix
from vlm_parity.report.page_templates import render_page, render_scripted_page
from vlm_parity.report.run_changes import RunChanges
from vlm_parity.report.summary import (
    INDEX_FILE,
    VerdictCounts,
    build_count_cells,
    build_report_json,
    format_headline,
    list_remarks,
    list_run_problems,
)
from vlm_parity.report.verdict_groups import (
    BACKEND,
    MAX_ROWS,
    MODEL,
    PAGE_FOLDERS,
    VerdictGroup,
    list_notable,
    list_verdict_groups,
)
from vlm_parity.report.verdict_table import build_verdict_table, render_table_script
from vlm_parity.schema.record import write_atomically
from vlm_parity.util.errors import UsageError

REPORT_FILE = "report.json"
DRIFT_FILE = "drift.html"
MATRIX_FILE = "matrix.html"
DATA_FOLDER = "data"
TABLE_FILE = f"{DATA_FOLDER}/verdicts.js"
FUZZ_PAGE = "fuzz.html"
EXTRA_PAGES = {
    "replays.html": "Replays",
    "history.html": "Verdicts by release",
    "selfcheck.html": "Self-check",
}
"""Pages of other commands; the index links to those that exist in the run folder."""

_PAGE_MARK = b'<meta name="generator" content="vlm-parity">'
_PAGE_HEAD_BYTES = 512
_PAGE_FOLDERS = (PAGE_FOLDER, *PAGE_FOLDERS.values())


def write_report(run: LoadedRun, changes: RunChanges | None = None) -> Path:
    """Write all pages and ``report.json`` into the run folder; return the path of the index.

    Args:
        run: the run.
        changes: the changes from a baseline, if the run was compared with one.

    Raises:
        UsageError: a folder of the pages is a symbolic link.
    """
    check_page_folders(run.folder)
    groups = {kind: list_verdict_groups(run, kind) for kind in (MODEL, BACKEND)}
    notes = changes.map_notes(run) if changes is not None else {}
    written = [*_write_case_pages(run, groups, notes), *_write_group_pages(run, groups)]
    _remove_stale_pages(run.folder, set(written))
    _write_page(run, DRIFT_FILE, _render_drift_page(run))
    document = json.dumps(build_report_json(run), indent=1, ensure_ascii=False, allow_nan=False)
    # Names of folders may hold bytes that are no text; JSON has the same escapes for them.
    write_atomically(run.folder / REPORT_FILE, document.encode(errors="backslashreplace"))
    classes = changes.map_pages(run) if changes is not None else None
    _write_page(run, TABLE_FILE, render_table_script(build_verdict_table(run.verdicts, classes)))
    return _write_page(run, INDEX_FILE, _render_index(run, groups, changes))


def _write_case_pages(
    run: LoadedRun, groups: Mapping[str, list[VerdictGroup]], notes: Mapping[str, str]
) -> Iterator[Path]:
    group_pages = {(kind, group.name): group.page for kind, found in groups.items() for group in found}
    for shard in run.shards:
        for entry in shard.verdicts:
            content = _render_case_page(run, shard, entry, group_pages, notes.get(entry.page, ""))
            yield _write_page(run, entry.page, content)


def _write_group_pages(run: LoadedRun, groups: Mapping[str, list[VerdictGroup]]) -> Iterator[Path]:
    """Write the matrix, and the page of each model and backend, which shows its part of it."""
    matrix = build_matrix(run)
    yield _write_page(run, MATRIX_FILE, render_page("matrix.html.j2", run=run, matrix=matrix))
    for group in chain.from_iterable(groups.values()):
        yield _write_page(run, group.page, _render_group_page(run, group, matrix))


def _write_page(run: LoadedRun, page: str, content: str) -> Path:
    path = run.folder / page
    write_atomically(path, content.encode())
    return path


def _remove_stale_pages(run: Path, written: Set[Path]) -> None:
    """Remove the pages of an earlier report that this one does not have."""
    for folder in _PAGE_FOLDERS:
        for page in set(run.glob(f"{folder}/*.html")) - written:
            if is_own_page(page):
                page.unlink()


def check_page_folders(run: Path) -> None:
    """Check that pages are written into the run, and nowhere else.

    Raises:
        UsageError: a folder of the pages is a symbolic link.
    """
    for folder in (run / name for name in (*_PAGE_FOLDERS, DATA_FOLDER)):
        if folder.is_symlink():
            raise UsageError(f"{folder}: a symbolic link, and pages are written into the run only: remove it")


def is_own_page(path: Path) -> bool:
    """Return whether a file is a page of a report, by its mark: others are not removed."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return _PAGE_MARK in file.read(_PAGE_HEAD_BYTES)


def _render_index(
    run: LoadedRun, groups: Mapping[str, list[VerdictGroup]], changes: RunChanges | None
) -> str:
    verdicts = run.verdicts
    return render_scripted_page(
        "index.html.j2",
        "index.js",
        TABLE_FILE,
        run=run,
        headline=format_headline(run),
        problems=list_run_problems(run),
        remarks=list_remarks(run),
        counts=VerdictCounts.of(entry.verdict for entry in verdicts),
        cells=build_count_cells(run),
        extra_pages={name: title for name, title in EXTRA_PAGES.items() if (run.folder / name).exists()},
        models=groups[MODEL],
        backends=groups[BACKEND],
        setups={e.verdict.label: e.verdict for e in sorted(verdicts, key=lambda e: e.verdict.label)},
        notable=list_notable(verdicts),
        max_rows=MAX_ROWS,
        changes=build_change_section(changes.comparison) if changes is not None else None,
        causes=group_by_cause(verdicts),
        drift_lines=format_drifts(run.drifts) if verdicts else [],
        pairs=build_environment_pairs,
        examples=sum(shard.record.examples for shard in run.shards if shard.record),
    )


def _render_group_page(run: LoadedRun, group: VerdictGroup, matrix: Matrix) -> str:
    rows = [
        row
        for row in matrix.rows
        if (row.model == group.name if group.kind == MODEL else row.cells.keys() & set(group.labels))
    ]
    return render_page("group.html.j2", run=run, group=group, rows=rows, max_rows=MAX_ROWS)


def _render_drift_page(run: LoadedRun) -> str:
    return render_page(
        "drift.html.j2",
        run=run,
        lines=format_drifts(run.drifts),
        environment_rows=build_environment_rows,
    )


def _render_case_page(
    run: LoadedRun,
    shard: ShardEntry,
    entry: VerdictEntry,
    group_pages: Mapping[tuple[str, str], str],
    change_note: str,
) -> str:
    verdict = entry.verdict
    case = shard.case(verdict.case)
    return render_scripted_page(
        "case.html.j2",
        "copy.js",
        None,
        run=run,
        shard=shard,
        entry=entry,
        verdict=verdict,
        model_page=group_pages[MODEL, verdict.model],
        backend_page=group_pages[BACKEND, verdict.backend],
        change_note=change_note,
        case=case,
        diffs={diff.stage: diff for diff in list_stages(verdict)},
        model=shard.record.models.get(verdict.model) if shard.record else None,
        drift=list(find_case_drift(run.drifts, shard.name, verdict.model, verdict.case)),
        findings=views.list_findings(verdict),
        module_views=module_views,
        turns=views.build_conversation(shard, case, verdict.tested.encoder_budget) if case else [],
        template_arguments=views.format_keys(case.template_arguments) if case else "",
        prompt=views.build_prompt_difference(verdict),
        sequences={stage: views.build_sequence_view(verdict, stage) for stage in views.SEQUENCE_STAGES},
        ruler=position_views.render_span_ruler(verdict),
        spans=position_views.build_span_rows(verdict),
        logits=list(position_views.build_logit_views(verdict)),
        environment_rows=list(
            build_environment_rows(verdict.reference.environment, verdict.tested.environment)
        ),
        output_tails=list(read_output_tails(shard, verdict)),
        issue=build_issue(entry, case),
    )
