"""The options of the fuzzer, and the objects that are built from them."""

from __future__ import annotations

import secrets
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from vlm_parity.pytest_plugin.option_table import AddOption, format_option, get_option
from vlm_parity.util.cache_dir import get_cache_root
from vlm_parity.util.option_types import parse_count, parse_seconds, parse_text
from vlm_parity.util.suggestions import describe_unknown_name

if TYPE_CHECKING:
    from vlm_parity.fuzz.campaign import FuzzProfile

FUZZ_FIXTURE = "parity_fuzz"
CI, NIGHTLY = "ci", "nightly"
CI_EXAMPLES = 200
"""Some seconds of a front end's time; a failure is shrunk with hundreds of further examples."""
CI_SEED = 20260729
NIGHTLY_SECONDS = 600.0
MISSING_HYPOTHESIS = (
    "fuzzing needs Hypothesis, which is not installed in this environment: pip install hypothesis"
)


def add_fuzz_options(add: AddOption) -> None:
    """Declare the options of the fuzzer."""
    add("fuzz", action="store_true", help="run the fuzz tests; implied by each of the options below")
    add(
        "fuzz-profile",
        choices=(CI, NIGHTLY),
        help=f"{CI}: the same {CI_EXAMPLES} examples every time for each model in each backend; {NIGHTLY}: "
        f"new examples every time, for {NIGHTLY_SECONDS:.0f} seconds each, beginning with those that failed "
        f"before (default: {CI})",
    )
    add(
        "fuzz-seconds",
        type=parse_seconds,
        metavar="S",
        help="seconds of fuzzing for each model in each backend, without loading; failures that were found "
        "in this time are shrunk completely",
    )
    add("fuzz-examples", type=parse_count, metavar="N", help="examples for each model in each backend")
    add("fuzz-seed", type=int, metavar="N", help="seed of the first example")
    add(
        "fuzz-fault",
        type=parse_text,
        metavar="NAME",
        help="inject this fault of the self-check into the engine; the fuzzer must find it",
    )


def is_fuzzing_requested(config: pytest.Config) -> bool:
    """Return whether any option requests fuzzing."""
    names = ("fuzz-profile", "fuzz-seconds", "fuzz-examples", "fuzz-seed", "fuzz-fault")
    return bool(get_option(config, "fuzz")) or any(get_option(config, name) is not None for name in names)


def get_fuzz_profile(config: pytest.Config) -> FuzzProfile:
    """Return the duration and the seed of fuzzing.

    Raises:
        pytest.UsageError: Hypothesis is not installed.
    """
    if find_spec("hypothesis") is None:
        raise pytest.UsageError(MISSING_HYPOTHESIS)
    from vlm_parity.fuzz.campaign import FuzzProfile

    name: str = get_option(config, "fuzz-profile") or CI
    examples, seconds = get_option(config, "fuzz-examples"), get_option(config, "fuzz-seconds")
    configured_seed: int | None = get_option(config, "fuzz-seed")
    if name == CI:
        bound = examples if examples or seconds else CI_EXAMPLES
        return FuzzProfile(CI, bound, seconds, CI_SEED if configured_seed is None else configured_seed)
    seed = secrets.randbelow(2**32) if configured_seed is None else configured_seed
    duration = seconds if seconds or examples else NIGHTLY_SECONDS
    return FuzzProfile(NIGHTLY, examples, duration, seed, get_cache_root() / "hypothesis")


def check_fault(config: pytest.Config, backends: list[str]) -> str | None:
    """Return the name of the fault to inject, None without one.

    Raises:
        pytest.UsageError: a backend has no such fault, or the fault has no effect at the depth ``tokens``.
    """
    name: str | None = get_option(config, "fuzz-fault")
    if name is None:
        return None
    from vlm_parity.selfcheck.registry import FAULTS

    for backend in backends:
        faults = [fault.name for fault in FAULTS if backend in fault.injectors and not fault.needs_engine]
        if name not in faults:
            raise pytest.UsageError(
                describe_unknown_name(
                    format_option(config, "fuzz-fault"),
                    name,
                    faults,
                    "no such fault",
                    listing=f"{backend} has",
                    one_per_line=True,
                )
            )
    return name
