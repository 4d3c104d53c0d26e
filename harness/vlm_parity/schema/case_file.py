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
"""U+0085, which PyYAML writes as it is unless everything beyond ASCII is escaped, and reads as a space."""


def load_cases(folder: Path, *more: Path) -> dict[str, Case]:
    """All cases of a folder by name, in the order of their file names, and of more folders, which may be
    empty or missing.

    Raises:
        CaseError: a file does not fit, the folder holds none, or two cases have one name.
    """
    cases: dict[str, Case] = {}
    for each in (folder, *more):
        for path in sorted(each.glob("*.yaml")):
            if path.stem in cases:
                raise CaseError(f"{path}: there is a case {path.stem} in {cases[path.stem].folder} already")
            cases[path.stem] = load_case(path)
        if not cases:
            raise CaseError(f"{each}: holds no case (*.yaml)")
    return cases


def load_case(path: Path) -> Case:
    """Reads one case file; the case is named after the file.

    Raises:
        CaseError: the file is not YAML or does not fit the schema.
    """
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise CaseError(f"{path}: {problem}") from problem
    if not isinstance(data, dict):
        raise CaseError(f"{path}:1: a case is a mapping with summary and messages")
    try:
        return Case.model_validate({**data, "name": path.stem, "folder": path.parent})
    except ValidationError as problem:
        # Where an item is wrong, pydantic also calls its list too short.
        errors = problem.errors(include_url=False)
        places = [error["loc"] for error in errors]
        lines = [
            _format_location(path, root, error)
            for error in errors
            if not _resolve_location(error["loc"], places)
        ]
        raise CaseError("\n".join(lines)) from problem


def write_case(path: Path, case: Case, comment: Iterable[str] = ()) -> None:
    """Writes a case file as ``load_case`` reads it; it is named after the file.

    Args:
        path: of the file.
        case: its media must be recipes or URLs: a file beside it is not copied.
        comment: lines to begin with; what is not printable in them is escaped.
    """
    data = case.model_dump(mode="json", exclude_defaults=True, exclude={"name", "folder"})
    readable = _NEXT_LINE not in repr(data)
    text = yaml.safe_dump(data, allow_unicode=readable, sort_keys=False, default_flow_style=None, width=110)
    lines = "".join(f"# {escape_invisible(line)}\n" for line in comment)
    write_atomically(path, (lines + text).encode())


def _format_location(path: Path, root: yaml.Node | None, error: Any) -> str:
    """``file:line: field: what is wrong``, with the line of the deepest field that exists."""
    node, field = root, ""
    for step in error["loc"]:
        if _is_union_tag(step):
            continue
        field += f"[{step}]" if isinstance(step, int) else f".{step}"
        node = _child(node, step) or node
    line = node.start_mark.line + 1 if node is not None else 1
    return f"{path}:{line}: {field.lstrip('.')}: {error['msg']}"


def _resolve_location(place: tuple[int | str, ...], places: list[tuple[int | str, ...]]) -> bool:
    return any(len(other) > len(place) and other[: len(place)] == place for other in places)


def _child(node: yaml.Node | None, step: int | str) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        return node.value[step] if step < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == step), None)
    return None


def _is_union_tag(step: int | str) -> bool:
    """Pydantic names the branch of a union in an error's path; the file has no such field."""
    return str(step).startswith("<")
