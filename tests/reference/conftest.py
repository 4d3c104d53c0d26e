"""Parametrization of the tests of the reference by family."""

from __future__ import annotations

import pytest

from tests.support.engine_processes import spare_the_cpu
from vlm_parity.pytest_plugin.selection import get_models

spare_the_cpu()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize ``family_name`` by the option ``--parity-model``; default: the default families."""
    if "family_name" in metafunc.fixturenames:
        metafunc.parametrize("family_name", get_models(metafunc.config), scope="module")
