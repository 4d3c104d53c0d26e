"""The reference page shows every table and column with its type and its comment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

from sqlalchemy import Column, Table

from vlm_parity.store.tables import METADATA

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "store.md"
TYPES = {"INTEGER": "integer", "TEXT": "text", "BOOLEAN": "boolean"}


def read_sections() -> dict[str, str]:
    """Return the text of each table on the page."""
    _, *parts = re.split(r"^### (\w+)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[::2], map(str.strip, parts[1::2]), strict=True))


def format_table(table: Table) -> str:
    rows = "\n".join(map(format_column, table.columns))
    return f"{table.comment}\n\n| column | type | |\n|---|---|---|\n{rows}"


def format_column(column: Column[object]) -> str:
    kind = f"{TYPES[str(column.type)]}{', or null' if column.nullable else ''}"
    notes = [column.comment] if column.comment else []
    notes += ["primary key"] if column.primary_key else []
    notes += [f"`{key.target_fullname}`" for key in column.foreign_keys]
    return f"| `{column.name}` | {kind} | {'; '.join(notes)} |"


def test_the_page_has_every_table() -> None:
    assert read_sections().keys() == METADATA.tables.keys()


@pytest.mark.parametrize("name", METADATA.tables)
def test_the_page_shows_the_table(name: str) -> None:
    assert read_sections()[name] == format_table(METADATA.tables[name])
