"""Version specifiers as a field of records."""

from __future__ import annotations

from typing import Annotated

from packaging.specifiers import SpecifierSet
from pydantic import AfterValidator


def _is_specifier(text: str) -> str:
    SpecifierSet(text)
    return text


Specifier = Annotated[str, AfterValidator(_is_specifier)]
