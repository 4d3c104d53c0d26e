"""Which variants there are, and which of them a session asks for."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from vlm_parity.backends.registry import BUILT_IN, backend_class
from vlm_parity.schema.trace import ALONE, WAYS_IN, Depth

ALL = "all"


def add_variant_option(group: pytest.OptionGroup) -> None:
    """Declares ``--variant``."""
    group.addoption(
        "--variant",
        action="append",
        metavar="NAME",
        help="how the engine under test is run, or by which way cases go in: "
        f"{', '.join([ALONE, *known_variants(BUILT_IN)])}, or {ALL}; repeatable (default: {ALONE}, one "
        "request through the chat path with nothing cached)",
    )


def chosen_variants(config: pytest.Config, backends: Iterable[str]) -> list[str]:
    """The variants under test. A backend that lacks one of them says so in its verdicts.

    Raises:
        pytest.UsageError: no chosen backend has one of them, or one needs an engine, and none is run at
            this depth.
    """
    named: list[str] = config.getoption("--variant") or [ALONE]
    known = [ALONE, *known_variants(backends)]
    for name in named:
        if name not in {*known, ALL}:
            raise pytest.UsageError(
                f"--variant {name}: there is no such variant of {', '.join(backends)}; "
                f"there are: {', '.join(known)}"
            )
    if config.getoption("--depth") == Depth.TOKENS:
        needs_none = [ALONE, *WAYS_IN]
        for name in named:
            if name not in {*needs_none, ALL}:
                raise pytest.UsageError(
                    f"--variant {name}: at --depth {Depth.TOKENS} no engine is run; without one there are: "
                    f"{', '.join(needs_none)}"
                )
        known = [name for name in known if name in needs_none]
    return known if ALL in named else list(dict.fromkeys(named))


def known_variants(backends: Iterable[str]) -> list[str]:
    """What backends have beyond ``alone``, each name once, those with an engine of their own first."""
    kinds = [backend_class(backend) for backend in backends]
    own = (name for kind in kinds for name in kind.variants)
    ways_in = (name for kind in kinds for name in kind.ways_in)
    return list(dict.fromkeys((*own, *ways_in)))
