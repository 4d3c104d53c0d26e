"""Fixtures of runs on a cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.faults.commands import accept_reference


@pytest.fixture
def accept_tiny_engine() -> Iterator[None]:
    """Let the report accept the tiny engine as a reference."""
    with accept_reference():
        yield
