"""Types of command-line options."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlm_parity.util import option_types as types

VALID: list[tuple[Callable[[str], Any], str, Any]] = [
    (types.parse_path, "a b/c\n", Path("a b/c\n")),
    (types.parse_text, " x ", " x "),
    (types.parse_count, "1", 1),
    (types.parse_count, " 12 ", 12),
    (types.parse_seconds, "0.5", 0.5),
    (types.parse_seconds, "1e6", 1_000_000.0),
    (types.parse_assignment, "wrong id=1=2", "wrong id=1=2"),
    (types.parse_assignment, "x=", "x="),
    (types.parse_version, " 1.0rc1 ", "1.0rc1"),
    (types.parse_versions, "1.0, 2.0", ("1.0", "2.0")),
    (types.parse_distribution, "a-b_c.d", "a-b_c.d"),
    (types.parse_pin, "torch=2.0", ("torch", "2.0")),
    (types.parse_pin, "torch==2.0", ("torch", "2.0")),
]
INVALID: list[tuple[Callable[[str], Any], str]] = [
    (types.parse_path, ""),
    (types.parse_path, "null\0"),
    (types.parse_folder, ""),
    (types.parse_folder, "/no/such/folder"),
    (types.parse_text, " "),
    *((types.parse_count, text) for text in ("", "0", "-1", "1.5", "nan", "x")),
    *((types.parse_seconds, text) for text in ("", "0", "-1", "nan", "inf", "1e300", "x")),
    *((types.parse_assignment, text) for text in ("", "x", "=x", " =x")),
    *((types.parse_version, text) for text in ("", "newest", "1..0")),
    *((types.parse_versions, text) for text in ("", ",", "1.0,", "1.0,x")),
    *((types.parse_distribution, text) for text in ("", "a b", "-x", "x/y")),
    *((types.parse_pin, text) for text in ("", "x", "x=", "x=y", "=1", "a b=1", "x===1")),
]


@pytest.mark.parametrize(("parse", "text", "value"), VALID)
def test_valid_texts(parse: Callable[[str], Any], text: str, value: Any) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(("parse", "text"), INVALID)
def test_invalid_texts(parse: Callable[[str], Any], text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        parse(text)
