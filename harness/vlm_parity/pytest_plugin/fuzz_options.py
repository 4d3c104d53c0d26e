"""The options of the fuzzer, and what they mean."""

from __future__ import annotations

import secrets
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from vlm_parity.pytest_plugin.option_table import AddOption, format_option, get_option
from vlm_parity.util.cache_dir import get_cache_root

if TYPE_CHECKING:
    from vlm_parity.fuzz.campaign import FuzzProfile

CI, NIGHTLY = "ci", "nightly"
CI_EXAMPLES = 200
"""A front end gives as many answers in some seconds; what is found is shrunk with hundreds more."""
CI_SEED = 20260729
NIGHTLY_SECONDS = 600.0
MISSING_HYPOTHESIS = "fuzzing needs Hypothesis, and this environment has none: pip install hypothesis"


def add_fuzz_options(add: AddOption) -> None:
    """Declare the options of the fuzzer."""
    add("fuzz", action="store_true", help="run the tests that fuzz; the options below say so, too")
    add(
        "fuzz-profile",
        choices=(CI, NIGHTLY),
        help=f"{CI}: {CI_EXAMPLES} examples for each model in each backend, the same every time; {NIGHTLY}: "
        f"others every time, for {NIGHTLY_SECONDS:.0f} seconds each, beginning with those that failed before "
        f"(default: {CI})",
    )
    add(
        "fuzz-seconds",
        type=float,
        metavar="S",
        help="seconds of fuzzing for each model in each backend, without loads; what was found by then is "
        "shrunk to its end",
    )
    add("fuzz-examples", type=int, metavar="N", help="examples for each model in each backend")
    add("fuzz-seed", type=int, metavar="N", help="where the drawing begins")
    add(
        "fuzz-fault",
        metavar="NAME",
        help="plant this fault of the self-check in the engine: the fuzzer has to find it",
    )


def is_fuzzing_requested(config: pytest.Config) -> bool:
    """Whether any option asks for fuzzing."""
    names = ("fuzz", "fuzz-profile", "fuzz-seconds", "fuzz-examples", "fuzz-seed", "fuzz-fault")
    return any(get_option(config, name) for name in names)


def get_fuzz_profile(config: pytest.Config) -> FuzzProfile:
    """How long to fuzz, and from where.

    Raises:
        pytest.UsageError: there is no Hypothesis.
    """
    if find_spec("hypothesis") is None:
        raise pytest.UsageError(MISSING_HYPOTHESIS)
    from vlm_parity.fuzz.campaign import FuzzProfile

    name: str = get_option(config, "fuzz-profile") or CI
    examples, seconds = get_option(config, "fuzz-examples"), get_option(config, "fuzz-seconds")
    chosen: int | None = get_option(config, "fuzz-seed")
    if name == CI:
        bounded = examples if examples or seconds else CI_EXAMPLES
        return FuzzProfile(CI, bounded, seconds, CI_SEED if chosen is None else chosen)
    seed = secrets.randbelow(2**32) if chosen is None else chosen
    length = seconds if seconds or examples else NIGHTLY_SECONDS
    return FuzzProfile(NIGHTLY, examples, length, seed, get_cache_root() / "hypothesis")


def check_fault(config: pytest.Config, backends: list[str]) -> str | None:
    """The fault to plant.

    Raises:
        pytest.UsageError: a backend has no such fault, or it does not show at the depth ``tokens``.
    """
    name: str | None = get_option(config, "fuzz-fault")
    if name is None:
        return None
    from vlm_parity.selfcheck.registry import FAULTS

    for backend in backends:
        able = [fault.name for fault in FAULTS if backend in fault.injectors and not fault.needs_engine]
        if name not in able:
            listed = "\n".join(f"  {each}" for each in able)
            raise pytest.UsageError(
                f"{format_option(config, 'fuzz-fault')} {name}: there are for {backend}:\n{listed}"
            )
    return name
