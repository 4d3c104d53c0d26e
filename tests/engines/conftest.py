"""Which families the tests of the real engines go through."""

from __future__ import annotations

import pytest

from vlm_parity.pytest_plugin.options import get_models


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A fixture ``family_name`` stands for each family that ``--model`` names, by default those of the
    main job, ``--model all`` for every one.
    """
    if "family_name" in metafunc.fixturenames:
        metafunc.parametrize("family_name", get_models(metafunc.config), scope="module")
