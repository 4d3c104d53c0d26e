"""The fuzzer in pytest: parameters and the ``parity_fuzz`` fixture. Loaded by the plug-in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vlm_parity.pytest_plugin.fuzz_options import FUZZ_FIXTURE, is_fuzzing_requested
from vlm_parity.pytest_plugin.stash import FUZZ_SESSION

if TYPE_CHECKING:
    from vlm_parity.pytest_plugin.fuzz_fixture import FuzzFixture


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker of fuzz tests."""
    config.addinivalue_line("markers", "parity_fuzz: generates its own cases; runs if an option requests it")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize fuzz tests by model and backend."""
    if FUZZ_FIXTURE not in metafunc.fixturenames:
        return
    if not is_fuzzing_requested(metafunc.config):
        metafunc.parametrize(FUZZ_FIXTURE, [], indirect=True)
        return
    from vlm_parity.pytest_plugin.fuzz_fixture import parametrize

    parametrize(metafunc, FUZZ_FIXTURE)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the fuzz tests if no option requests them."""
    if is_fuzzing_requested(config):
        return
    fuzzing = [item for item in items if FUZZ_FIXTURE in getattr(item, "fixturenames", ())]
    if fuzzing:
        config.hook.pytest_deselected(items=fuzzing)
        items[:] = [item for item in items if item not in fuzzing]


@pytest.fixture
def parity_fuzz(request: pytest.FixtureRequest) -> FuzzFixture:
    """Return the fuzzer of one model in one backend."""
    from vlm_parity.pytest_plugin.fuzz_fixture import build_fixture

    return build_fixture(request)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Finish the fuzz session, or release its shard if it was cut off, before the report is written."""
    fuzz_session = session.config.stash.get(FUZZ_SESSION, None)
    if fuzz_session is None:
        return
    if exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
        from vlm_parity.pytest_plugin.failed_tests import list_failed_tests

        failed = list_failed_tests(session.config, FUZZ_FIXTURE)
        fuzz_session.finish((nodeid, target.model, target.backend) for nodeid, target in failed)
    fuzz_session.shard.release()
