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
from vlm_parity.report.case_media import last_words
from vlm_parity.report.causes import causes, confidence
from vlm_parity.report.charts import share
from vlm_parity.report.drifts import drift_lines, drift_of
from vlm_parity.report.entries import FiledPart, FiledVerdict, all_stages
from vlm_parity.report.environments import environment_pairs, environment_rows
from vlm_parity.report.issue import issue_text
from vlm_parity.report.load_run import WORST_FIRST, Run
from vlm_parity.report.matrix import matrix
from vlm_parity.report.summary import (
    INDEX_FILE,
    Counts,
    count_cells,
    headline,
    largest_max_abs,
    obstacles,
    remarks,
    report_json,
)
from vlm_parity.schema.record import write_atomically
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Status, VerdictKind
from vlm_parity.util.text import visible, visible_lines

REPORT_FILE = "report.json"
DRIFT_FILE = "drift.html"
MATRIX_FILE = "matrix.html"
FUZZ_PAGE = "fuzz.html"
BESIDE = {"replays.html": "Replays", "history.html": "Verdicts by release", "selfcheck.html": "Self-check"}
"""Pages of other commands, which the index leads to where they are there."""

KIND_LOOKS = {
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

DRIFT_LOOKS = {
    DriftStatus.EQUAL: ("good", "="),
    DriftStatus.ROUNDING: ("good", "≈"),
    DriftStatus.DRIFT: ("bad", "≠"),
    DriftStatus.NOT_COMPARED: ("none", "–"),
}

STATUS_LOOKS = {
    Status.MATCH: ("good", "="),
    Status.MISMATCH: ("bad", "≠"),
    Status.NOT_COMPARED: ("none", "–"),
}

_NOTHING = "'none'"
_TEMPLATES = Path(__file__).parent / "templates"


def write_report(run: Run) -> Path:
    """Writes all pages and ``report.json`` into the run folder; returns the path of the index."""
    pages = {filed.page: _case_page(run, part, filed) for part in run.parts for filed in part.verdicts}
    for page, content in pages.items():
        write_atomically(run.folder / page, content.encode())
    for stale in set(run.folder.glob("cases/*.html")) - {run.folder / page for page in pages}:
        stale.unlink()
    write_atomically(run.folder / DRIFT_FILE, _drift_page(run).encode())
    write_atomically(run.folder / MATRIX_FILE, _matrix_page(run).encode())
    document = json.dumps(report_json(run), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(run.folder / REPORT_FILE, document.encode())
    write_atomically(run.folder / INDEX_FILE, _index(run).encode())
    return run.folder / INDEX_FILE


def _index(run: Run) -> str:
    verdicts = run.verdicts
    template = _templates().get_template("index.html.j2")
    return template.render(
        **_assets("filter.js"),
        run=run,
        headline=headline(run),
        obstacles=obstacles(run),
        remarks=remarks(run),
        counts=Counts.of(filed.verdict for filed in verdicts),
        cells=count_cells(run),
        beside={name: title for name, title in BESIDE.items() if (run.folder / name).exists()},
        models=sorted({filed.verdict.model for filed in verdicts}),
        ways=sorted({filed.verdict.label for filed in verdicts}),
        kinds=[kind for kind in WORST_FIRST if any(filed.verdict.kind == kind for filed in verdicts)],
        verdicts=verdicts,
        causes=causes(run),
        drift_lines=drift_lines(run.drifts) if verdicts else [],
        largest=largest_max_abs,
        pairs=environment_pairs,
        examples=sum(part.record.examples for part in run.parts if part.record),
    )


def _drift_page(run: Run) -> str:
    template = _templates().get_template("drift.html.j2")
    return template.render(
        **_assets(None), run=run, lines=drift_lines(run.drifts), environment_rows=environment_rows
    )


def _matrix_page(run: Run) -> str:
    template = _templates().get_template("matrix.html.j2")
    return template.render(**_assets(None), run=run, matrix=matrix(run))


def _case_page(run: Run, part: FiledPart, filed: FiledVerdict) -> str:
    verdict = filed.verdict
    case = part.case(verdict.case)
    template = _templates().get_template("case.html.j2")
    return template.render(
        **_assets(None),
        run=run,
        part=part,
        filed=filed,
        verdict=verdict,
        case=case,
        diffs={diff.stage: diff for diff in all_stages(verdict)},
        model=part.record.models.get(verdict.model) if part.record else None,
        drift=list(drift_of(run.drifts, part.name, verdict.model, verdict.case)),
        findings=views.findings(verdict),
        turns=views.conversation(part, case, verdict.tested.reserved) if case else [],
        prompt=views.prompt_difference(verdict),
        sequences={stage: views.sequence(verdict, stage) for stage in views.SEQUENCE_STAGES},
        ruler=position_views.span_ruler(verdict),
        spans=position_views.span_rows(verdict),
        logits=list(position_views.logits(verdict)),
        environment_rows=list(environment_rows(verdict.reference.environment, verdict.tested.environment)),
        last_words=list(last_words(part, verdict)),
        issue=issue_text(filed, case),
    )


def page(template: str, **values: Any) -> str:
    """A page of its own beside the report, in the same looks and under the same policy."""
    return _templates().get_template(template).render(**_assets(None), **values)


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("vlm_parity.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "visible": visible,
        "number": number,
        "minutes": minutes,
        "confidence": confidence,
    }
    environment.globals |= {
        "KIND_LOOKS": KIND_LOOKS,
        "STATUS_LOOKS": STATUS_LOOKS,
        "DRIFT_LOOKS": DRIFT_LOOKS,
        "Stage": Stage,
        "VerdictKind": VerdictKind,
        "all_stages": all_stages,
        "share": share,
    }
    return environment


@cache
def _assets(script: str | None) -> dict[str, Any]:
    """The style sheet and the script, and the policy that lets in these two and nothing else."""
    style = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    code = (_TEMPLATES / script).read_text(encoding="utf-8") if script else ""
    policy = [
        f"default-src {_NOTHING}",
        "img-src data:",
        f"style-src {_hash(style)}",
        f"script-src {_hash(code) if code else _NOTHING}",
        f"base-uri {_NOTHING}",
        f"form-action {_NOTHING}",
    ]
    return {"style": Markup(style), "script": Markup(code), "policy": "; ".join(policy)}  # noqa: S704


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _shown(value: object) -> object:
    """What a page shows of a value: of a text that is not our own markup, nothing hides."""
    return visible_lines(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def number(value: float) -> str:
    """A number short enough for a table."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def minutes(seconds: float) -> str:
    """A duration in the unit that suits it."""
    minute = 60
    if seconds < minute:
        return f"{seconds:.1f} s"
    whole = math.floor(seconds + 0.5)
    return f"{whole // minute} min {whole % minute:02d} s"
