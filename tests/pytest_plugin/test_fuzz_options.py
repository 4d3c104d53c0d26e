"""The fuzz profile of the options."""

from __future__ import annotations

from typing import Any, cast

import pytest

from vlm_parity.fuzz.campaign import FuzzProfile
from vlm_parity.pytest_plugin.fuzz_options import CI_EXAMPLES, CI_SEED, NIGHTLY_SECONDS, get_fuzz_profile
from vlm_parity.util.cache_dir import get_cache_root


class Config:
    """Stand-in for the configuration of pytest, with some options."""

    def __init__(self, **options: Any) -> None:
        self._options = options

    def getoption(self, name: str) -> Any:
        return self._options.get(name.removeprefix("--parity-fuzz-"))


def build_profile(**options: Any) -> FuzzProfile:
    return get_fuzz_profile(cast(pytest.Config, Config(**options)))


def test_ci_is_the_same_every_time() -> None:
    assert (
        build_profile() == build_profile(profile="ci") == FuzzProfile("ci", CI_EXAMPLES, None, CI_SEED, None)
    )


def test_ci_can_be_longer() -> None:
    assert build_profile(examples=7).examples == 7
    assert (build_profile(seconds=9.0).examples, build_profile(seconds=9.0).seconds) == (None, 9.0)


def test_nightly_draws_new_examples_and_keeps_failures() -> None:
    one, other = build_profile(profile="nightly"), build_profile(profile="nightly")
    assert one.seed != other.seed
    assert (one.examples, one.seconds, one.database) == (
        None,
        NIGHTLY_SECONDS,
        get_cache_root() / "hypothesis",
    )


def test_a_seed_can_be_given() -> None:
    assert build_profile(seed=0).seed == 0
    assert build_profile(profile="nightly", seed=3).seed == 3
