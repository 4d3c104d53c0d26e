"""Front ends of the engine tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.engine_processes import spare_the_cpu
from tests.support.frontends import LoadFrontend, load_frontends

spare_the_cpu()


@pytest.fixture(scope="session")
def load_frontend() -> Iterator[LoadFrontend]:
    """Return a function that loads the front end of a backend and a family once for all modules."""
    with load_frontends() as load:
        yield load
