"""Which profile the options choose."""

from __future__ import annotations

from typing import Any, cast

import pytest

from vlm_parity.fuzz.campaign import FuzzProfile
from vlm_parity.pytest_plugin.fuzz_options import CI_EXAMPLES, CI_SEED, NIGHTLY_SECONDS, get_fuzz_profile
from vlm_parity.util.cache_dir import get_cache_root


class Config:
    """Stands for pytest's, with some options given."""

    def __init__(self, **given: Any) -> None:
        self._given = given

    def getoption(self, name: str) -> Any:
        return self._given.get(name.removeprefix("--parity-fuzz-"))


def chosen(**given: Any) -> FuzzProfile:
    return get_fuzz_profile(cast(pytest.Config, Config(**given)))


def test_ci_is_the_same_every_time() -> None:
    assert chosen() == chosen(profile="ci") == FuzzProfile("ci", CI_EXAMPLES, None, CI_SEED, None)


def test_ci_can_be_longer() -> None:
    assert chosen(examples=7).examples == 7
    assert (chosen(seconds=9.0).examples, chosen(seconds=9.0).seconds) == (None, 9.0)


def test_nightly_asks_others_every_time_and_keeps_what_failed() -> None:
    one, other = chosen(profile="nightly"), chosen(profile="nightly")
    assert one.seed != other.seed
    assert (one.examples, one.seconds, one.database) == (
        None,
        NIGHTLY_SECONDS,
        get_cache_root() / "hypothesis",
    )


def test_a_seed_can_be_given() -> None:
    assert chosen(seed=0).seed == 0
    assert chosen(profile="nightly", seed=3).seed == 3
