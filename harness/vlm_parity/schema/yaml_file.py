"""YAML files that users write, read with the line of each value.

Only plain data are read: no aliases, which a small file could expand to gigabytes, no tags, no duplicate
keys, and of the types of YAML 1.1 only those that nobody mistakes for text: dates, ``yes``, ``012`` and
``1:30`` are text. Size, depth and number of values are limited, so no file takes longer than some seconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from yaml.reader import ReaderError

from vlm_parity.schema.field_errors import describe_error, format_errors
from vlm_parity.util.errors import ParityError, UnreadableFileError
from vlm_parity.util.regular_file import read_regular_file
from vlm_parity.util.text import escape_invisible

MAX_BYTES = 4 * 2**20
"""PyYAML reads 2 MB a second; a larger data URL belongs in a file of its own."""
MAX_DEPTH = 32
"""Lists and mappings within each other; a case has 8."""
MAX_NODES = 20_000
"""Keys and values; a video may have 4096 timestamps."""
MAX_DIGITS = 30
"""Digits of an integer; no field accepts more than 10."""

_PREFIX = "tag:yaml.org,2002:"
_RESOLVERS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    "float": (
        r"[-+]?[0-9]+\.[0-9]*(?:[eE][-+][0-9]+)?|\.[0-9]+(?:[eE][-+][0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+0123456789."),
    ),
}
"""Pattern and first characters of each type, a part of those of PyYAML, which quotes text by its own."""
_READ_AS = {"null": "nothing", "bool": "true or false", "int": "a number", "float": "a number"}


@dataclass(frozen=True)
class YamlFile:
    """The content of a file, with the position of each value."""

    path: Path
    data: dict[str, Any]
    root: yaml.MappingNode

    def locate(self, location: tuple[int | str, ...], *, is_missing: bool = False) -> str:
        """Return ``file:line: field: `` of a field, with the line of the innermost value that the file has.

        Steps that name a branch of a union are left out: they are no keys of the file.

        Args:
            location: names and indices, from the top level on.
            is_missing: whether the last step names a key that the file lacks.
        """
        node, field = self._find(location)
        if is_missing:
            field += _format_step(location[-1])
        line = node.start_mark.line + 1
        return f"{self.path}:{line}: {field.lstrip('.')}: " if field else f"{self.path}:{line}: "

    def format_error(self, error: ValidationError) -> str:
        """Format the errors of a record that was built from the data, one line each."""
        return format_errors(error, self._format_detail)

    def _format_detail(self, detail: Any) -> str:
        node, _ = self._find(detail["loc"])
        text = describe_error(detail)
        if detail["type"] == "string_type" and isinstance(node, yaml.ScalarNode):
            read_as = _READ_AS.get(node.tag.removeprefix(_PREFIX))
            shown = f"{node.value} is read as {read_as}: put it in quotes" if node.value else "it is empty"
            text += f", but {shown}" if read_as is not None else ""
        return self.locate(detail["loc"], is_missing=detail["type"] == "missing") + text

    def _find(self, location: tuple[int | str, ...]) -> tuple[yaml.Node, str]:
        """Return the innermost value of a location that the file has, and the field."""
        node: yaml.Node = self.root
        field = ""
        for step in location:
            child = _get_child(node, step)
            if child is not None:
                node, field = child, field + _format_step(step)
        return node, field


def read_yaml(path: Path, error_class: type[ParityError], keys: str) -> YamlFile:
    """Read a file that holds one mapping.

    Args:
        path: the file.
        error_class: raised on failure; its message names the file, the line and, of YAML, the column.
        keys: of the mapping, for the message if the file holds something else.

    Raises:
        ParityError: as an ``error_class``: the file cannot be read, is not YAML, or is beyond a limit.
    """
    try:
        content = read_regular_file(path, MAX_BYTES)
        text = content.decode("utf-8")
        loader = _Loader(text)
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            kind = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
            found = "empty" if root is None else kind
            raise error_class(f"{path}:1: the file is {found}: it must be a mapping with {keys}")
        return YamlFile(path, loader.construct_document(root), root)
    except UnreadableFileError as error:
        raise error_class(f"{path}: {error}") from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise error_class(f"{path}:{line}: not UTF-8: the byte 0x{content[error.start]:02x}") from error
    except ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise error_class(f"{path}:{line}: the character U+{error.character:04X} is not allowed") from error
    except yaml.MarkedYAMLError as error:
        raise error_class(_format_yaml_error(path, error)) from error


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases, tags and duplicate keys, and with limits."""

    yaml_implicit_resolvers: dict[str, Any] = {}

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._count = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node after checks of its event."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        self._depth, self._count = self._depth + 1, self._count + 1
        _check_event(event, self._depth, self._count)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        """Compose a scalar; Python refuses integers of thousands of digits."""
        node = super().compose_scalar_node(anchor)
        if node.tag == f"{_PREFIX}int" and len(node.value) > MAX_DIGITS:
            raise _build_error(f"a number of {len(node.value)} digits", node.start_mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping, each of whose keys must be a text of its own."""
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            _check_key(key)
            if key.value in lines:
                raise _build_error(
                    f"the key {key.value} is already in line {lines[key.value]}", key.start_mark
                )
            lines[key.value] = key.start_mark.line + 1
        return node


for _name, (_pattern, _first) in _RESOLVERS.items():
    _Loader.add_implicit_resolver(f"{_PREFIX}{_name}", re.compile(rf"^(?:{_pattern})$"), _first)


def _check_event(event: Any, depth: int, count: int) -> None:
    problem = None
    if isinstance(event, yaml.AliasEvent):
        problem = f"the alias *{event.anchor} is not supported: write the value out"
    elif event.anchor is not None:
        problem = f"the anchor &{event.anchor} is not supported: write the value out wherever it is used"
    elif event.tag is not None:
        problem = f"the tag {event.tag} is not supported: write the value without it"
    elif isinstance(event, yaml.ScalarEvent) and re.search("[\ud800-\udfff]", event.value):
        problem = "half of a surrogate pair: write the character itself, or \\U and its 8 hexadecimal digits"
    elif depth > MAX_DEPTH:
        problem = f"more than {MAX_DEPTH} lists and mappings within each other"
    elif count > MAX_NODES:
        problem = f"more than {MAX_NODES:,} keys and values in the file"
    if problem is not None:
        raise _build_error(problem, event.start_mark)


def _check_key(key: yaml.Node) -> None:
    if not isinstance(key, yaml.ScalarNode):
        raise _build_error("a key must be a name, not a list or a mapping", key.start_mark)
    read_as = _READ_AS.get(key.tag.removeprefix(_PREFIX))
    if read_as is not None:
        problem = (
            f"the key {key.value} is read as {read_as}: put it in quotes" if key.value else "an empty key"
        )
        raise _build_error(problem, key.start_mark)


def _build_error(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _format_yaml_error(path: Path, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark is not None else str(path)
    words = " ".join(filter(None, (error.context, error.problem)))
    if "'\\t'" in words:
        words += ": indent with spaces, not with tabs"
    return f"{place}: {escape_invisible(words)}"


def _format_step(step: int | str) -> str:
    return f"[{step}]" if isinstance(step, int) else f".{step}"


def _get_child(node: yaml.Node, step: int | str) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        return node.value[step] if step < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == step), None)
    return None
