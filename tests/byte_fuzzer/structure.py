"""Mutations of the structure of a file: most mutations of its bytes end in its parser."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import yaml

_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 255, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e300),
    *(
        "",
        "a",
        "..",
        "/etc/passwd",
        "../../x",
        "inf",
        "nan",
        "-inf",
        "\x1b[31m",
        "\ud800",
        "<script>",
        "a\nb",
        "é" * 300,
    ),
    *([], {}, [[]], [None], {"": None}, [0] * 300),
)
_HEADER_BYTES = 8
_MOST_CHANGES = 3


def mutate_json(content: bytes, seed: int) -> bytes | None:
    """Change some values of a JSON document; also as YAML, whose subset it is."""
    try:
        return _dump(_change(json.loads(content), random.Random(seed)))  # noqa: S311
    except (ValueError, RecursionError):  # no JSON, or a number of thousands of digits
        return None


def mutate_yaml(content: bytes, seed: int) -> bytes | None:
    """Change some values of a YAML document, which becomes JSON."""
    try:
        return _dump(_change(yaml.safe_load(content), random.Random(seed)))  # noqa: S311
    except (ValueError, TypeError, RecursionError, yaml.YAMLError):
        return None


def mutate_safetensors(content: bytes, seed: int) -> bytes | None:
    """Change some values of the header of a safetensors file; its length stays right."""
    try:
        (length,) = struct.unpack("<Q", content[:_HEADER_BYTES])
        header = json.loads(content[_HEADER_BYTES : _HEADER_BYTES + length])
        changed = _dump(_change(header, random.Random(seed)))  # noqa: S311
    except (ValueError, struct.error, RecursionError, OverflowError):
        return None
    return struct.pack("<Q", len(changed)) + changed + content[_HEADER_BYTES + length :]


def _dump(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=True, default=str).encode()


def _change(document: Any, generator: random.Random) -> Any:
    for _ in range(generator.randint(1, _MOST_CHANGES)):
        places = list(_list_places(document))
        if not places:
            return deepcopy(generator.choice(_VALUES))
        container, key = generator.choice(places)
        _change_place(container, key, generator)
    return document


def _list_places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place of a value: its container and its key or index."""
    keys = (
        document if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else ()
    )
    for key in list(keys):
        yield document, key
        yield from _list_places(document[key])


def _change_place(container: Any, key: Any, generator: random.Random) -> None:
    value = container[key]
    match generator.randrange(6):
        case 0:
            del container[key]
        case 1 if isinstance(container, dict):
            container[generator.choice(("", "x", str(key) + "_", "schema_version"))] = value
        case 1 | 2 if isinstance(value, bool | int | float):
            container[key] = generator.choice(
                (value + 1, value - 1, -value, value * 2**32, value / 3, str(value))
            )
        case 1 | 2 if isinstance(value, str):
            container[key] = generator.choice(
                (value[:-1], value + "\u202e", value * 2, [value], value.upper())
            )
        case 1 | 2 if isinstance(value, list):
            container[key] = generator.choice((value * 2, value[1:], value[::-1], {"a": value}))
        case _:
            container[key] = deepcopy(generator.choice(_VALUES))
