"""Cases in YAML files (``cases/conversations/*.yaml``): errors name the file, the line and the field."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from vlm_parity.schema.case import Case
from vlm_parity.schema.record import write_atomically
from vlm_parity.util.errors import CaseError
from vlm_parity.util.text import escape_invisible

_NEXT_LINE = repr("\x85")[1:-1]
"""U+0085: PyYAML writes it unescaped unless all non-ASCII characters are escaped, and reads it as a space."""


def load_cases(folder: Path, *more: Path) -> dict[str, Case]:
    """Load the cases of a folder by name, in the order of the file names.

    Args:
        folder: must hold a case.
        more: further folders, which may be empty or missing.

    Raises:
        CaseError: a file does not fit the schema, the first folder has no case, or two cases have the same
            name.
    """
    cases: dict[str, Case] = {}
    for searched in (folder, *more):
        for path in sorted(searched.glob("*.yaml")):
            if path.stem in cases:
                raise CaseError(f"{path}: {cases[path.stem].folder} already has a case {path.stem}")
            cases[path.stem] = load_case(path)
        if not cases:
            raise CaseError(f"{searched}: no cases (*.yaml)")
    return cases


def load_case(path: Path) -> Case:
    """Load one case file; the case is named after the file.

    Raises:
        CaseError: the file is not YAML or does not fit the schema.
    """
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CaseError(f"{path}: {error}") from error
    if not isinstance(data, dict):
        raise CaseError(f"{path}:1: a case must be a mapping with summary and messages")
    try:
        return Case.model_validate({**data, "name": path.stem, "folder": path.parent})
    except ValidationError as error:
        # If an item is invalid, pydantic also reports its list as too short.
        details = error.errors(include_url=False)
        locations = [detail["loc"] for detail in details]
        lines = [
            _format_error(path, root, detail)
            for detail in details
            if not _has_deeper_location(detail["loc"], locations)
        ]
        raise CaseError("\n".join(lines)) from error


def write_case(path: Path, case: Case, comment: Iterable[str] = ()) -> None:
    """Write a case to a file for ``load_case``, which will name the case after the file.

    Args:
        path: the file.
        case: must have recipes or URLs as media: media files are not copied.
        comment: lines at the top of the file; non-printable characters are escaped.
    """
    data = case.model_dump(mode="json", exclude_defaults=True, exclude={"name", "folder"})
    readable = _NEXT_LINE not in repr(data)
    text = yaml.safe_dump(data, allow_unicode=readable, sort_keys=False, default_flow_style=None, width=110)
    lines = "".join(f"# {escape_invisible(line)}\n" for line in comment)
    write_atomically(path, (lines + text).encode())


def _format_error(path: Path, root: yaml.Node | None, detail: Any) -> str:
    """Format an error as ``file:line: field: message``, with the line of the deepest field that exists."""
    node, field = root, ""
    for step in detail["loc"]:
        if _is_union_tag(step):
            continue
        field += f"[{step}]" if isinstance(step, int) else f".{step}"
        node = _child(node, step) or node
    line = node.start_mark.line + 1 if node is not None else 1
    return f"{path}:{line}: {field.lstrip('.')}: {detail['msg']}"


def _has_deeper_location(location: tuple[int | str, ...], locations: list[tuple[int | str, ...]]) -> bool:
    return any(len(other) > len(location) and other[: len(location)] == location for other in locations)


def _child(node: yaml.Node | None, step: int | str) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        return node.value[step] if step < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == step), None)
    return None


def _is_union_tag(step: int | str) -> bool:
    """Return whether a step of an error's path is a branch of a union: the file has no such field."""
    return str(step).startswith("<")
