"""Parametrization of the engine tests by family, and their front ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.frontends import LoadFrontend, load_frontends
from vlm_parity.pytest_plugin.selection import get_models


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize ``family_name`` by the option ``--parity-model``; default: the default families."""
    if "family_name" in metafunc.fixturenames:
        metafunc.parametrize("family_name", get_models(metafunc.config), scope="module")


@pytest.fixture(scope="session")
def load_frontend() -> Iterator[LoadFrontend]:
    """Return a function that loads the front end of a backend and a family once for all modules."""
    with load_frontends() as load:
        yield load
