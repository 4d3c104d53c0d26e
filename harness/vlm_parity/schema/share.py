"""Shares of a plan: engine loads that several sessions, such as the jobs of a CI matrix, run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vlm_parity.schema.record import Count, Record


class PlannedLoad(Record):
    """An engine load of a plan, and the share that runs it."""

    model: str
    engine: str
    """The backend with its mode; entry points that share an engine are one load."""
    comparisons: Count
    share: Count
    """From 1."""


class Share(Record):
    """A session's share of a plan."""

    number: Annotated[int, Field(ge=1, le=9999)]
    count: Annotated[int, Field(ge=1, le=9999)]
    plan: str
    """Digest of the plan: loads with their shares, cases, and the options that affect a result."""
    commit: str = ""
    """The commit of the tests, with ``-dirty`` if files were changed; empty if there is none."""
    versions: dict[str, str] = {}
    """Versions of vlm-parity and of the engines' packages."""
    loads: tuple[PlannedLoad, ...]
    """All loads of the plan."""

    def list_loads(self, number: int) -> tuple[PlannedLoad, ...]:
        """Return the loads of one share."""
        return tuple(load for load in self.loads if load.share == number)

    @property
    def is_empty(self) -> bool:
        """True if there are fewer loads than shares, and none for this one."""
        return not self.list_loads(self.number)
