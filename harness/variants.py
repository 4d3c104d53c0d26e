"""Which variants there are, and which of them a session asks for."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from harness.backends import BUILT_IN, backend_class
from harness.trace import ALONE, Depth

ALL = "all"


def add_variant_option(group: pytest.OptionGroup) -> None:
    """Declares ``--variant``."""
    group.addoption(
        "--variant",
        action="append",
        metavar="NAME",
        help=f"how the engine under test is run: {', '.join([ALONE, *known_variants(BUILT_IN)])}, or {ALL}; "
        f"repeatable (default: {ALONE}, one request with nothing cached)",
    )


def chosen_variants(config: pytest.Config, backends: Iterable[str]) -> list[str]:
    """The variants under test. A backend that lacks one of them says so in its verdicts.

    Raises:
        pytest.UsageError: no chosen backend has one of them, or no engine is run at this depth.
    """
    named: list[str] = config.getoption("--variant") or [ALONE]
    known = [ALONE, *known_variants(backends)]
    for name in named:
        if name not in {*known, ALL}:
            raise pytest.UsageError(
                f"--variant {name}: there is no such variant of {', '.join(backends)}; "
                f"there are: {', '.join(known)}"
            )
    found = known if ALL in named else list(dict.fromkeys(named))
    if config.getoption("--depth") == Depth.TOKENS and found != [ALONE]:
        raise pytest.UsageError(f"--variant: at --depth {Depth.TOKENS} no engine is run, in whatever variant")
    return found


def known_variants(backends: Iterable[str]) -> list[str]:
    """What backends have beyond ``alone``, each name once."""
    return list(dict.fromkeys(name for backend in backends for name in backend_class(backend).variants))
