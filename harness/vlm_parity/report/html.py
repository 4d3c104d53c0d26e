"""Writes the report: an index, a page for each verdict, and ``report.json``.

Pages hold text from models, cases and engines, none of which is trusted: all of it is escaped, and
the content security policy allows nothing but the style sheet and the script that lie beside this
module, by their hashes, and pictures inside the page.
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
from vlm_parity.report import position_views
from vlm_parity.report.case_media import read_output_tail
from vlm_parity.report.causes import format_confidence, group_by_cause
from vlm_parity.report.charts import render_share
from vlm_parity.report.drifts import find_case_drift, format_drifts
from vlm_parity.report.entries import ShardEntry, VerdictEntry, list_stages
from vlm_parity.report.environments import build_environment_pairs, build_environment_rows
from vlm_parity.report.issue import build_issue
from vlm_parity.report.load_run import SEVERITY_ORDER, LoadedRun
from vlm_parity.report.matrix import build_matrix
from vlm_parity.report.summary import (
    INDEX_FILE,
    VerdictCounts,
    build_count_cells,
    build_report_json,
    format_headline,
    get_largest_max_abs,
    list_remarks,
    list_skip_reasons,
)
from vlm_parity.schema.record import write_atomically
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus, VerdictKind
from vlm_parity.util.text import escape_invisible, escape_invisible_lines

REPORT_FILE = "report.json"
DRIFT_FILE = "drift.html"
MATRIX_FILE = "matrix.html"
FUZZ_PAGE = "fuzz.html"
EXTRA_PAGES = {
    "replays.html": "Replays",
    "history.html": "Verdicts by release",
    "selfcheck.html": "Self-check",
}
"""Pages of other commands, which the index leads to where they are there."""

KIND_STYLE = {
    VerdictKind.CRASH: ("dire", "‼"),
    VerdictKind.ERROR: ("bad", "!"),
    VerdictKind.INVALID: ("bad", "?"),
    VerdictKind.MISMATCH: ("bad", "≠"),
    VerdictKind.FIXED: ("warn", "↺"),
    VerdictKind.UNSUPPORTED: ("none", "–"),
    VerdictKind.KNOWN: ("warn", "≈"),
    VerdictKind.MATCH: ("good", "="),
    VerdictKind.REFUSED: ("good", "∅"),
}
"""The class in the style sheet and the symbol of each kind: never colour alone."""

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

_EMPTY_PAGE = "'none'"
_TEMPLATES = Path(__file__).parent / "templates"


def write_report(run: LoadedRun) -> Path:
    """Writes all pages and ``report.json`` into the run folder; returns the path of the index."""
    pages = {filed.page: _case_page(run, shard, filed) for shard in run.shards for filed in shard.verdicts}
    for page, content in pages.items():
        write_atomically(run.folder / page, content.encode())
    for stale in set(run.folder.glob("cases/*.html")) - {run.folder / page for page in pages}:
        stale.unlink()
    write_atomically(run.folder / DRIFT_FILE, _drift_page(run).encode())
    write_atomically(run.folder / MATRIX_FILE, _matrix_page(run).encode())
    document = json.dumps(build_report_json(run), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(run.folder / REPORT_FILE, document.encode())
    write_atomically(run.folder / INDEX_FILE, _index(run).encode())
    return run.folder / INDEX_FILE


def _index(run: LoadedRun) -> str:
    verdicts = run.verdicts
    template = _templates().get_template("index.html.j2")
    return template.render(
        **_load_assets("filter.js"),
        run=run,
        headline=format_headline(run),
        obstacles=list_skip_reasons(run),
        remarks=list_remarks(run),
        counts=VerdictCounts.of(filed.verdict for filed in verdicts),
        cells=build_count_cells(run),
        beside={name: title for name, title in EXTRA_PAGES.items() if (run.folder / name).exists()},
        models=sorted({filed.verdict.model for filed in verdicts}),
        ways=sorted({filed.verdict.label for filed in verdicts}),
        kinds=[kind for kind in SEVERITY_ORDER if any(filed.verdict.kind == kind for filed in verdicts)],
        verdicts=verdicts,
        causes=group_by_cause(run),
        drift_lines=format_drifts(run.drifts) if verdicts else [],
        largest=get_largest_max_abs,
        pairs=build_environment_pairs,
        examples=sum(shard.record.examples for shard in run.shards if shard.record),
    )


def _drift_page(run: LoadedRun) -> str:
    template = _templates().get_template("drift.html.j2")
    return template.render(
        **_load_assets(None),
        run=run,
        lines=format_drifts(run.drifts),
        environment_rows=build_environment_rows,
    )


def _matrix_page(run: LoadedRun) -> str:
    template = _templates().get_template("matrix.html.j2")
    return template.render(**_load_assets(None), run=run, matrix=build_matrix(run))


def _case_page(run: LoadedRun, shard: ShardEntry, filed: VerdictEntry) -> str:
    verdict = filed.verdict
    case = shard.case(verdict.case)
    template = _templates().get_template("case.html.j2")
    return template.render(
        **_load_assets(None),
        run=run,
        shard=shard,
        filed=filed,
        verdict=verdict,
        case=case,
        diffs={diff.stage: diff for diff in list_stages(verdict)},
        model=shard.record.models.get(verdict.model) if shard.record else None,
        drift=list(find_case_drift(run.drifts, shard.name, verdict.model, verdict.case)),
        findings=views.list_findings(verdict),
        turns=views.build_conversation(shard, case, verdict.tested.encoder_budget) if case else [],
        prompt=views.build_prompt_difference(verdict),
        sequences={stage: views.build_sequence_view(verdict, stage) for stage in views.SEQUENCE_STAGES},
        ruler=position_views.render_span_ruler(verdict),
        spans=position_views.build_span_rows(verdict),
        logits=list(position_views.build_logit_views(verdict)),
        environment_rows=list(
            build_environment_rows(verdict.reference.environment, verdict.tested.environment)
        ),
        last_words=list(read_output_tail(shard, verdict)),
        issue=build_issue(filed, case),
    )


def render_page(template: str, **values: Any) -> str:
    """A page of its own beside the report, in the same looks and under the same policy."""
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
        "KIND_LOOKS": KIND_STYLE,
        "STATUS_LOOKS": STATUS_STYLE,
        "DRIFT_LOOKS": DRIFT_STYLE,
        "Stage": Stage,
        "VerdictKind": VerdictKind,
        "all_stages": list_stages,
        "share": render_share,
    }
    return environment


@cache
def _load_assets(script: str | None) -> dict[str, Any]:
    """The style sheet and the script, and the policy that lets in these two and nothing else."""
    style = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    code = (_TEMPLATES / script).read_text(encoding="utf-8") if script else ""
    policy = [
        f"default-src {_EMPTY_PAGE}",
        "img-src data:",
        f"style-src {_csp_hash(style)}",
        f"script-src {_csp_hash(code) if code else _EMPTY_PAGE}",
        f"base-uri {_EMPTY_PAGE}",
        f"form-action {_EMPTY_PAGE}",
    ]
    return {"style": Markup(style), "script": Markup(code), "policy": "; ".join(policy)}


def _csp_hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _format_value(value: object) -> object:
    """What a page shows of a value: of a text that is not our own markup, nothing hides."""
    return (
        escape_invisible_lines(value) if isinstance(value, str) and not isinstance(value, Markup) else value
    )


def format_number(value: float) -> str:
    """A number short enough for a table."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def format_minutes(seconds: float) -> str:
    """A duration in the unit that suits it."""
    minute = 60
    if seconds < minute:
        return f"{seconds:.1f} s"
    whole = math.floor(seconds + 0.5)
    return f"{whole // minute} min {whole % minute:02d} s"
