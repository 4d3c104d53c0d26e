"""The pages of the report: an index, a page for each verdict, and ``report.json``.

Pages hold untrusted text from models, cases and engines. All of it is escaped, and the content security
policy allows only the style sheet and the script of ``templates/``, by their hashes, and images inside the
page.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from vlm_parity.drift.stages import DriftStatus
from vlm_parity.report import case_views as views
from vlm_parity.report import module_views, position_views
from vlm_parity.report.case_media import read_output_tails
from vlm_parity.report.causes import format_confidence, group_by_cause
from vlm_parity.report.charts import render_share
from vlm_parity.report.drifts import find_case_drift, format_drifts
from vlm_parity.report.entries import ShardEntry, VerdictEntry, list_stages
from vlm_parity.report.environments import build_environment_pairs, build_environment_rows
from vlm_parity.report.issue import build_issue
from vlm_parity.report.load_run import PAGE_FOLDER, SEVERITY_ORDER, LoadedRun
from vlm_parity.report.locks import format_lock
from vlm_parity.report.matrix import build_matrix
from vlm_parity.report.summary import (
    INDEX_FILE,
    VerdictCounts,
    build_count_cells,
    build_report_json,
    format_headline,
    get_largest_max_abs,
    list_remarks,
    list_run_problems,
)
from vlm_parity.schema.record import write_atomically
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus, VerdictKind
from vlm_parity.util.errors import UsageError
from vlm_parity.util.text import escape_html, escape_invisible

REPORT_FILE = "report.json"
DRIFT_FILE = "drift.html"
MATRIX_FILE = "matrix.html"
FUZZ_PAGE = "fuzz.html"
EXTRA_PAGES = {
    "replays.html": "Replays",
    "history.html": "Verdicts by release",
    "selfcheck.html": "Self-check",
}
"""Pages of other commands; the index links to those that exist in the run folder."""

KIND_STYLE = {
    VerdictKind.HARNESS_ERROR: ("dire", "✗"),
    VerdictKind.CRASH: ("dire", "‼"),
    VerdictKind.ERROR: ("bad", "!"),
    VerdictKind.INVALID: ("bad", "?"),
    VerdictKind.MISMATCH: ("bad", "≠"),
    VerdictKind.UNSTABLE: ("bad", "±"),
    VerdictKind.FIXED: ("warn", "↺"),
    VerdictKind.UNSUPPORTED: ("none", "–"),
    VerdictKind.KNOWN: ("warn", "≈"),
    VerdictKind.MATCH: ("good", "="),
    VerdictKind.REFUSED: ("good", "∅"),
}
"""The class in the style sheet and the symbol of each kind: never a color alone."""

DRIFT_STYLE = {
    DriftStatus.EQUAL: ("good", "="),
    DriftStatus.ROUNDING: ("good", "≈"),
    DriftStatus.DRIFT: ("bad", "≠"),
    DriftStatus.NOT_COMPARED: ("none", "–"),
}

STATUS_STYLE = {
    DiffStatus.MATCH: ("good", "="),
    DiffStatus.MISMATCH: ("bad", "≠"),
    DiffStatus.NOT_COMPARED: ("none", "–"),
}

_PAGE_MARK = b'<meta name="generator" content="vlm-parity">'
_PAGE_HEAD_BYTES = 512
_NO_SOURCE = "'none'"
_TEMPLATES = Path(__file__).parent / "templates"


def write_report(run: LoadedRun) -> Path:
    """Write all pages and ``report.json`` into the run folder; return the path of the index.

    Raises:
        UsageError: the folder of the pages is a symbolic link.
    """
    check_page_folder(run.folder)
    pages = {
        entry.page: _render_case_page(run, shard, entry) for shard in run.shards for entry in shard.verdicts
    }
    for page, content in pages.items():
        write_atomically(run.folder / page, content.encode())
    for stale in set(run.folder.glob("cases/*.html")) - {run.folder / page for page in pages}:
        if is_own_page(stale):
            stale.unlink()
    write_atomically(run.folder / DRIFT_FILE, _render_drift_page(run).encode())
    write_atomically(run.folder / MATRIX_FILE, _render_matrix_page(run).encode())
    document = json.dumps(build_report_json(run), indent=1, ensure_ascii=False, allow_nan=False)
    # Names of folders may hold bytes that are no text; JSON has the same escapes for them.
    write_atomically(run.folder / REPORT_FILE, document.encode(errors="backslashreplace"))
    write_atomically(run.folder / INDEX_FILE, _index(run).encode())
    return run.folder / INDEX_FILE


def check_page_folder(run: Path) -> None:
    """Check that pages are written into the run, and nowhere else.

    Raises:
        UsageError: the folder of the pages is a symbolic link.
    """
    if (run / PAGE_FOLDER).is_symlink():
        raise UsageError(
            f"{run / PAGE_FOLDER}: a symbolic link, and pages are written into the run only: remove it"
        )


def is_own_page(path: Path) -> bool:
    """Return whether a file is a page of a report, by its mark: others are not removed."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return _PAGE_MARK in file.read(_PAGE_HEAD_BYTES)


def _index(run: LoadedRun) -> str:
    verdicts = run.verdicts
    template = _templates().get_template("index.html.j2")
    return template.render(
        **_load_assets("filter.js"),
        run=run,
        headline=format_headline(run),
        problems=list_run_problems(run),
        remarks=list_remarks(run),
        counts=VerdictCounts.of(entry.verdict for entry in verdicts),
        cells=build_count_cells(run),
        extra_pages={name: title for name, title in EXTRA_PAGES.items() if (run.folder / name).exists()},
        models=sorted({entry.verdict.model for entry in verdicts}),
        labels=sorted({entry.verdict.label for entry in verdicts}),
        kinds=[kind for kind in SEVERITY_ORDER if any(entry.verdict.kind == kind for entry in verdicts)],
        verdicts=verdicts,
        causes=group_by_cause(run),
        drift_lines=format_drifts(run.drifts) if verdicts else [],
        largest=get_largest_max_abs,
        pairs=build_environment_pairs,
        examples=sum(shard.record.examples for shard in run.shards if shard.record),
    )


def _render_drift_page(run: LoadedRun) -> str:
    template = _templates().get_template("drift.html.j2")
    return template.render(
        **_load_assets(None),
        run=run,
        lines=format_drifts(run.drifts),
        environment_rows=build_environment_rows,
    )


def _render_matrix_page(run: LoadedRun) -> str:
    template = _templates().get_template("matrix.html.j2")
    return template.render(**_load_assets(None), run=run, matrix=build_matrix(run))


def _render_case_page(run: LoadedRun, shard: ShardEntry, entry: VerdictEntry) -> str:
    verdict = entry.verdict
    case = shard.case(verdict.case)
    template = _templates().get_template("case.html.j2")
    return template.render(
        **_load_assets(None),
        run=run,
        shard=shard,
        entry=entry,
        verdict=verdict,
        case=case,
        diffs={diff.stage: diff for diff in list_stages(verdict)},
        model=shard.record.models.get(verdict.model) if shard.record else None,
        drift=list(find_case_drift(run.drifts, shard.name, verdict.model, verdict.case)),
        findings=views.list_findings(verdict),
        module_views=module_views,
        turns=views.build_conversation(shard, case, verdict.tested.encoder_budget) if case else [],
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


def render_page(template: str, **values: Any) -> str:
    """Render a page of another command in the style of the report, under the same security policy."""
    return _templates().get_template(template).render(**_load_assets(None), **values)


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("vlm_parity.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_format_value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "visible": escape_invisible,
        "number": format_number,
        "minutes": format_minutes,
        "confidence": format_confidence,
    }
    environment.globals |= {
        "KIND_STYLE": KIND_STYLE,
        "STATUS_STYLE": STATUS_STYLE,
        "DRIFT_STYLE": DRIFT_STYLE,
        "Stage": Stage,
        "VerdictKind": VerdictKind,
        "all_stages": list_stages,
        "share": render_share,
        "format_lock": format_lock,
    }
    return environment


@cache
def _load_assets(script: str | None) -> dict[str, Any]:
    """Return the style sheet, the script, and the security policy that allows these two only."""
    style = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    code = (_TEMPLATES / script).read_text(encoding="utf-8") if script else ""
    policy = [
        f"default-src {_NO_SOURCE}",
        "img-src data:",
        f"style-src {_csp_hash(style)}",
        f"script-src {_csp_hash(code) if code else _NO_SOURCE}",
        f"base-uri {_NO_SOURCE}",
        f"form-action {_NO_SOURCE}",
    ]
    # Both are files of this package, not input.
    return {"style": Markup(style), "script": Markup(code), "policy": "; ".join(policy)}  # noqa: S704


def _csp_hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _format_value(value: object) -> object:
    """Escape a text that is not markup of this package."""
    return escape_html(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def format_number(value: float) -> str:
    """Format a number with at most three digits after the leading zeros, an integer completely."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def format_minutes(seconds: float) -> str:
    """Format a duration in seconds, or in minutes and seconds."""
    minute = 60
    if seconds < minute:
        return f"{seconds:.1f} s"
    whole = math.floor(seconds + 0.5)
    return f"{whole // minute} min {whole % minute:02d} s"
