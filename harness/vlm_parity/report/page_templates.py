"""Templates of the pages, their style sheet and scripts, and the security policy.

Pages hold untrusted text from models, cases and engines. All of it is escaped, and the content security
policy allows only the style sheet and the scripts of ``templates/``, by their hashes, and images inside the
page. The index may also load its table from the folder of the report.
"""

from __future__ import annotations

import base64
import hashlib
import math
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from vlm_parity.report.causes import format_confidence
from vlm_parity.report.charts import render_share
from vlm_parity.report.entries import list_stages
from vlm_parity.report.filter_links import format_filter_link
from vlm_parity.report.locks import format_lock
from vlm_parity.report.page_styles import DRIFT_STYLE, KIND_STYLE, STAGE_SYMBOLS, STATUS_STYLE, get_light
from vlm_parity.report.severity import measure_severity
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import VerdictKind
from vlm_parity.util.text import escape_html, escape_invisible

_NO_SOURCE = "'none'"
_REPORT_FOLDER = "'self' file:"
"""The origin of the page. Browsers do not agree that it includes the files beside a page that is a file."""
_TEMPLATES = Path(__file__).parent / "templates"


def render_page(template: str, /, **values: Any) -> str:
    """Render a page without a script; ``values`` are those of its template."""
    return render_scripted_page(template, None, None, **values)


def render_scripted_page(template: str, script: str | None, data_file: str | None, /, **values: Any) -> str:
    """Render a page of the report.

    Args:
        template: a file in ``templates/``.
        script: a file in ``templates/`` that runs in the page.
        data_file: a script with data to load before, relative to the page.
        values: the values of the template.
    """
    assets = _load_assets(script, has_data=data_file is not None)
    return load_templates().get_template(template).render(**assets, data_file=data_file, **values)


@cache
def load_templates() -> Environment:
    """Return the templates of all pages, with their filters and globals."""
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
        "STAGE_SYMBOLS": STAGE_SYMBOLS,
        "Stage": Stage,
        "VerdictKind": VerdictKind,
        "all_stages": list_stages,
        "filter_link": format_filter_link,
        "light": get_light,
        "severity": measure_severity,
        "share": render_share,
        "format_lock": format_lock,
    }
    return environment


@cache
def _load_assets(script: str | None, *, has_data: bool) -> dict[str, Any]:
    """Return the style sheet, the script, and the security policy that allows these two only."""
    style = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    code = (_TEMPLATES / script).read_text(encoding="utf-8") if script else ""
    scripts = [_REPORT_FOLDER] if has_data else []
    scripts += [_csp_hash(code)] if code else []
    policy = [
        f"default-src {_NO_SOURCE}",
        "img-src data:",
        f"style-src {_csp_hash(style)}",
        f"script-src {' '.join(scripts) or _NO_SOURCE}",
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
