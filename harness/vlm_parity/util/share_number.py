"""The number of a share, as the option ``--shard 2/5`` states it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

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
