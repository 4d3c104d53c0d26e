"""Shares of a plan: engine loads that several sessions, such as the jobs of a CI matrix, run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from vlm_parity.schema.record import Count, Record

_SHARE = re.compile(r"(\d{1,4})/(\d{1,4})")


@dataclass(frozen=True)
class ShareNumber:
    """One share of several: ``2/5``."""

    number: int
    """From 1."""
    count: int

    def __str__(self) -> str:
        return f"{self.number} of {self.count}"

    def build_shard_name(self, backends: Iterable[str]) -> str:
        """Return the name of the shard that the share writes: ``vllm-2-of-5``."""
        return "-".join([*backends, f"{self.number}-of-{self.count}"])


def parse_share(text: str) -> ShareNumber | None:
    """Return the share of the form ``N/M``; None for a text of another form.

    Raises:
        ValueError: N is not between 1 and M.
    """
    match = _SHARE.fullmatch(text)
    if match is None:
        return None
    number, count = map(int, match.groups())
    if not 1 <= number <= count:
        raise ValueError(f"{text!r} is no share N/M with N from 1 to M")
    return ShareNumber(number, count)


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
