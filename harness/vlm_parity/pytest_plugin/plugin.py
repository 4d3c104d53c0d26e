"""The pytest plug-in: options, parameters, the ``parity_comparison`` fixture, and the report at the end.

It is loaded in every pytest session of its environment. So its options, fixtures and markers have a prefix,
and a session that does not use its fixtures imports, prints and writes nothing more.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from vlm_parity.pytest_plugin.fuzz_options import FUZZ_FIXTURE, add_fuzz_options
from vlm_parity.pytest_plugin.option_table import AddOption, PrefixedGroup, is_requested
from vlm_parity.pytest_plugin.options import add_options
from vlm_parity.pytest_plugin.run_folder import check_folders, get_run_folder
from vlm_parity.pytest_plugin.stash import CRASHED_TESTS, STATE
from vlm_parity.pytest_plugin.store_option import store_run
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.util.errors import StoreError, UsageError
from vlm_parity.util.text import escape_terminal

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from vlm_parity.pytest_plugin.comparison import Comparison

pytest_plugins = ["vlm_parity.pytest_plugin.fuzz_plugin"]
FIXTURE = "parity_comparison"


def declare_options(add: AddOption, add_fuzz: AddOption) -> None:
    """Declare every option of the plug-in."""
    add_options(add)
    add_fuzz_options(add_fuzz)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options of the plug-in, prefixed."""
    declare_options(
        PrefixedGroup(parser.getgroup("vlm-parity", "vlm-parity: serving engines against transformers")),
        PrefixedGroup(parser.getgroup("vlm-parity fuzzing", "vlm-parity fuzzing: generated cases")),
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers; those of families and backends follow with the first test that has them."""
    for depth in Depth:
        config.addinivalue_line("markers", f"parity_{depth}: stage captured at this depth")
    for modality in ("text", "image", "video", "audio"):
        config.addinivalue_line("markers", f"parity_{modality}: case with this modality")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Return a scheduler for ``--dist load`` that keeps all cases of an engine in one worker."""
    if config.getoption("dist") != "load" or not is_requested(config):
        return None
    from vlm_parity.pytest_plugin.xdist import EngineScheduling

    return EngineScheduling(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Pass the run folder and the shard on to a pytest-xdist worker.

    Raises:
        pytest.UsageError: the session could not write its results. A worker can raise no such error.
    """
    config = node.config
    if is_requested(config) and not config.option.collectonly:
        from vlm_parity.schema.shard_folder import check_free

        try:
            check_folders(config)
            folder = get_run_folder(config)
            check_free(folder.path / "shards" / f"{folder.shard}-{node.gateway.id}")
        except UsageError as error:
            raise pytest.UsageError(escape_terminal(str(error))) from None
    get_run_folder(config).write_worker_input(node.workerinput)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: Sequence[str]) -> None:
    """Handle the interrupts of the controller, which collects nothing, if its workers use the plug-in."""
    from vlm_parity.pytest_plugin.interrupts import handle_interrupts
    from vlm_parity.pytest_plugin.xdist import get_engine_scope

    if any(map(get_engine_scope, ids)):
        handle_interrupts(node.config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize tests by model, backend, mode, entry point and case."""
    if FIXTURE in metafunc.fixturenames:
        from vlm_parity.pytest_plugin.collection import parametrize

        parametrize(metafunc, FIXTURE)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests that are deeper than the requested depth, and group the rest by engine.

    Raises:
        pytest.UsageError: an option names something that does not exist.
    """
    if _is_used(config):
        from vlm_parity.pytest_plugin.collection import select_and_group_tests

        select_and_group_tests(config, items)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Store the selected targets."""
    if _is_used(session.config):
        from vlm_parity.pytest_plugin.collection import store_targets

        store_targets(session)


@pytest.fixture
def parity_comparison(request: pytest.FixtureRequest) -> Comparison:
    """Return the comparison of one backend with transformers, on one model and one case."""
    from vlm_parity.pytest_plugin.state import get_state

    return get_state(request.config).comparison(request.param)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape the report of a test of the plug-in, which quotes engines and cases, and note a failure."""
    report = yield
    if {FIXTURE, FUZZ_FIXTURE} & set(getattr(item, "fixturenames", ())):
        from vlm_parity.pytest_plugin.escaped_reports import escape_report
        from vlm_parity.pytest_plugin.failed_tests import note_failed_test

        escape_report(report)
        note_failed_test(item, report)
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str, sched: Any) -> None:
    """Note a test at which a pytest-xdist worker ended."""
    if is_requested(sched.config):
        from vlm_parity.pytest_plugin.failed_tests import note_crashed_test

        note_crashed_test(sched.config, crashitem)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None, object, object]:
    """Write the report, also if another plug-in fails; fail a session that passed with incomplete shards."""
    try:
        return (yield)
    finally:  # the workers of pytest-xdist have ended, and the terminal's summary follows
        _write_report(session, exitstatus)


def _write_report(session: pytest.Session, exitstatus: int) -> None:
    config = session.config
    if _is_used(config):
        from vlm_parity.pytest_plugin.failed_tests import list_failed_tests
        from vlm_parity.pytest_plugin.state import get_state

        state = get_state(config)
        try:
            if exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
                state.finish(list_failed_tests(config, FIXTURE))
            elif exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and not config.option.collectonly:
                state.write_empty_share()
        except OSError as error:  # the shard stays incomplete, which the report shows
            _warn(f"the shard could not be completed: {error}")
        finally:
            state.release_shard()
    folder = get_run_folder(config)
    if CRASHED_TESTS in config.stash:
        from vlm_parity.pytest_plugin.failed_tests import write_crash_shard

        write_crash_shard(config, folder)
    if folder.is_worker or not folder.has_shards:
        return
    from vlm_parity.fuzz.page import write_fuzz_page
    from vlm_parity.report.publish import publish_report

    try:
        run = publish_report(folder.path)
        write_fuzz_page(run)
    except OSError as error:
        _warn(
            f"the report could not be written: {error}; the verdicts are in {folder.path / 'shards'}: "
            f"`parity report {folder.path}` writes it again"
        )
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
        return
    try:
        store_run(config, run)
    except StoreError as error:
        _warn(f"the run is not in the store: {error}; `parity store import {folder.path}` adds it")
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
        return
    own = [shard.record for shard in run.shards if shard.record is not None and folder.is_own(shard.name)]
    is_empty_share = bool(own) and all(record.share is not None and record.share.is_empty for record in own)
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and is_empty_share:
        session.exitstatus = exitstatus = pytest.ExitCode.OK
    is_incomplete = any(folder.is_own(shard.name) for shard in run.incomplete)
    if exitstatus == pytest.ExitCode.OK and (run.problems or is_incomplete):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the result of the run."""
    if not get_run_folder(config).has_shards:
        return
    from rich.console import Console

    from vlm_parity.report.load_run import load_run
    from vlm_parity.report.terminal import print_summary

    terminalreporter.section("vlm-parity")
    print_summary(load_run(get_run_folder(config).path), Console())


def _warn(sentence: str) -> None:
    sys.stderr.write(f"{escape_terminal(sentence)}\n")


def _is_used(config: pytest.Config) -> bool:
    """Return whether a collected test uses a fixture of the plug-in."""
    return STATE in config.stash
