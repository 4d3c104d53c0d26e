"""The verdicts of a run as a compact table, which the index loads as a script.

A page that is opened as a file may not read other files, but it may load scripts. The table therefore is one
assignment, ``globalThis.verdictTable = {...}``. It is stored by column, and equal texts once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vlm_parity.report.causes import get_cause_label
from vlm_parity.report.entries import VerdictEntry, list_stages
from vlm_parity.report.page_styles import KIND_STYLE, STAGE_SYMBOLS, get_light
from vlm_parity.report.severity import measure_severity
from vlm_parity.schema.verdict import Verdict
from vlm_parity.util.text import escape_invisible_lines

Changes = Mapping[str, str]
"""The class of the change of each comparison by its page, if the run was compared with a baseline."""

_MAX_REASON_LENGTH = 160
_GREEDY_LABELS = {True: "changed", False: "equal", None: ""}


def build_verdict_table(entries: Sequence[VerdictEntry], changes: Changes | None = None) -> dict[str, Any]:
    """Build the table of some verdicts, in their order.

    Args:
        entries: the verdicts.
        changes: the classes of changes; without them the table has no column ``change``.

    Returns:
        ``columns`` by name: ``rows`` with numbers and None, or with indices into ``values``. ``lights`` and
        ``kinds`` describe the codes of stages and the kinds for the page.
    """
    verdicts = [entry.verdict for entry in entries]
    severities = [measure_severity(verdict) for verdict in verdicts]
    lights: dict[tuple[str, str], int] = {}
    columns = {
        "kind": _intern(str(verdict.kind) for verdict in verdicts),
        "case": _intern(verdict.case for verdict in verdicts),
        "model": _intern(verdict.model for verdict in verdicts),
        "backend": _intern(verdict.backend for verdict in verdicts),
        "mode": _intern(verdict.mode for verdict in verdicts),
        "entry_point": _intern(str(verdict.entry_point) for verdict in verdicts),
        "label": _intern(verdict.label for verdict in verdicts),
        "stage": _intern(str(verdict.first_divergence or "") for verdict in verdicts),
        "lights": _intern(_encode_lights(verdict, lights) for verdict in verdicts),
        "cause": _intern(get_cause_label(verdict) for verdict in verdicts),
        "reason": _intern(_clip_text(verdict.reason) for verdict in verdicts),
        "greedy": _intern(_GREEDY_LABELS[severity.greedy_changes] for severity in severities),
        "limit_ratio": {"rows": [_round_number(severity.limit_ratio) for severity in severities]},
        "kl": {"rows": [_round_number(severity.largest_kl) for severity in severities]},
        "page": {"rows": [entry.page for entry in entries]},
    }
    if changes is not None:
        columns["change"] = _intern(changes.get(entry.page, "") for entry in entries)
    return {
        "stages": [[str(stage), symbol] for stage, symbol in STAGE_SYMBOLS.items()],
        "kinds": {str(kind): style for kind, style in KIND_STYLE.items()},
        "lights": [{"style": style, "label": label} for style, label in lights],
        "columns": columns,
    }


def render_table_script(table: Mapping[str, Any]) -> str:
    """Render a table as a script of ASCII characters that stays one statement in any context."""
    document = json.dumps(table, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return f"globalThis.verdictTable = {document.replace('<', chr(92) + 'u003c')};\n"


def _intern(texts: Iterable[str]) -> dict[str, list[Any]]:
    """Return the distinct texts, and the index of each; invisible characters are escaped, as in pages."""
    indices: dict[str, int] = {}
    rows = [indices.setdefault(escape_invisible_lines(text), len(indices)) for text in texts]
    return {"values": list(indices), "rows": rows}


def _encode_lights(verdict: Verdict, lights: dict[tuple[str, str], int]) -> str:
    """Return a letter for the light of each stage; new lights get the next letter."""
    found = [get_light(diff) for diff in list_stages(verdict)]
    codes = [lights.setdefault((light.style, light.label), len(lights)) for light in found]
    return "".join(chr(ord("a") + code) for code in codes)


def _round_number(value: float | None) -> float | str | None:
    """Round a number to four digits; JSON has no infinity, so it is a text, as in ``report.json``."""
    if value is None or math.isfinite(value):
        return None if value is None else float(f"{value:.4g}")
    return str(value)


def _clip_text(text: str) -> str:
    return text if len(text) <= _MAX_REASON_LENGTH else f"{text[:_MAX_REASON_LENGTH]}…"
