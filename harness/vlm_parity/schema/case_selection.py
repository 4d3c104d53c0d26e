"""Selection of cases by shell patterns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from vlm_parity.schema.case import Case
from vlm_parity.util.errors import UsageError
from vlm_parity.util.suggestions import describe_unknown_name


def select_cases(cases: Mapping[str, Case], patterns: Iterable[str], option: str) -> dict[str, Case]:
    """Return the cases that match one of the patterns, in their order.

    Args:
        cases: all cases by name.
        patterns: names or shell patterns; without any, all cases are selected.
        option: the option that holds the patterns, for the message.

    Raises:
        UsageError: a pattern matches no case.
    """
    selected = list(patterns) or ["*"]
    for pattern in selected:
        if not any(fnmatchcase(name, pattern) for name in cases):
            raise UsageError(describe_unknown_name(option, pattern, cases, "matches none of the cases"))
    return {
        name: case for name, case in cases.items() if any(fnmatchcase(name, pattern) for pattern in selected)
    }
