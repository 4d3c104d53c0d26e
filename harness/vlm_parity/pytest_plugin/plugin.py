"""The pytest plug-in: options, parameters, the ``parity_comparison`` fixture, and the report at the end.

It prints and writes nothing in a session that does not use the fixture.
"""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from vlm_parity.backends.registry import list_backend_targets
from vlm_parity.models.registry import FAMILIES
from vlm_parity.pytest_plugin.comparison import Comparison
from vlm_parity.pytest_plugin.fuzz_options import add_fuzz_options
from vlm_parity.pytest_plugin.option_table import AddOption, PrefixedGroup, get_option
from vlm_parity.pytest_plugin.options import add_options, get_backends, get_models, make_plan
from vlm_parity.pytest_plugin.setup_options import get_setups
from vlm_parity.pytest_plugin.state import STATE, PluginState
from vlm_parity.pytest_plugin.target import FIXTURE, Target, get_target, is_applicable, make_param, supports
from vlm_parity.schema.trace import Depth
from vlm_parity.session.plan import EngineLoad

pytest_plugins = ["vlm_parity.pytest_plugin.fuzz_plugin"]


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
    """Register the markers and create the state of the session."""
    for depth in Depth:
        config.addinivalue_line("markers", f"parity_{depth}: stage captured at this depth")
    for modality in ("text", "image", "video", "audio"):
        config.addinivalue_line("markers", f"parity_{modality}: case with this modality")
    for name in (*FAMILIES, *list_backend_targets()):
        config.addinivalue_line("markers", f"parity_{name}: case of this family or backend")
    config.stash[STATE] = PluginState(config)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Return a scheduler for ``--dist load`` that keeps all cases of an engine in one worker."""
    if config.getoption("dist") != "load":
        return None
    from vlm_parity.pytest_plugin.xdist import EngineScheduling

    return EngineScheduling(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Pass the run folder and the shard on to a pytest-xdist worker."""
    state = node.config.stash[STATE]
    node.workerinput["parity_run"] = str(state.run)
    node.workerinput["parity_shard"] = state.shard


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize tests by model, backend, mode, entry point and case."""
    if FIXTURE not in metafunc.fixturenames:
        return
    config = metafunc.config
    state = config.stash[STATE]
    try:
        cases = state.cases_next_to(metafunc.definition.path.parent)
        backends = get_backends(config)
        setups = get_setups(config, backends)
        make_plan(config, state.run, state.shard)
    except pytest.UsageError as error:
        if state.is_worker:
            raise  # pytest-xdist reports nothing but errors of the collection
        state.usage_error = error  # raised here, pytest would print it with a traceback
        return
    parameters = [
        make_param(Target(EngineLoad(model, backend, mode, entry_point), name), case)
        for model in get_models(config, state.model_list)
        for backend in backends
        for mode, entry_point in setups
        for name, case in cases.items()
        if supports(model, case, state.model_list) and is_applicable(case, mode, entry_point)
    ]
    state.selectable.update(parameter.values[0] for parameter in parameters)
    metafunc.parametrize(FIXTURE, parameters, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests that are deeper than the requested depth, and group the rest by engine.

    Raises:
        pytest.UsageError: an option names something that does not exist.
    """
    usage_error = config.stash[STATE].usage_error
    if usage_error is not None:
        raise usage_error
    cases = config.stash[STATE].cases
    shallow = get_option(config, "depth") == Depth.TOKENS
    deeper = [
        item
        for item in items
        if item.get_closest_marker("parity_logits")
        and (target := get_target(item))
        and (shallow or cases[target.case].depth == "tokens")
    ]
    if deeper:
        config.hook.pytest_deselected(items=deeper)
        deselected = set(deeper)
        items[:] = [item for item in items if item not in deselected]
    groups: dict[EngineLoad, int] = {}

    def group(item: pytest.Item) -> int:
        target = get_target(item)
        return groups.setdefault(target.load, len(groups) + 1) if target else 0

    items.sort(key=group)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Store the selected targets."""
    targets = (get_target(item) for item in session.items)
    session.config.stash[STATE].targets = list(dict.fromkeys(target for target in targets if target))


@pytest.fixture
def parity_comparison(request: pytest.FixtureRequest) -> Comparison:
    """Return the comparison of one backend with transformers, on one model and one case."""
    comparison: Comparison = request.config.stash[STATE].comparison(request.param)
    return comparison


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the report; fail a session that passed but whose run is incomplete."""
    state = session.config.stash[STATE]
    if exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
        state.finish()
    if state.is_worker or not state.compared:
        return
    from vlm_parity.fuzz.page import write_fuzz_page
    from vlm_parity.report.publish import publish_report

    run = publish_report(state.run)
    write_fuzz_page(run)
    if exitstatus == pytest.ExitCode.OK and (run.problems or run.incomplete):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the result of the run."""
    state = config.stash[STATE]
    if not state.compared:
        return
    from vlm_parity.report.load_run import load_run
    from vlm_parity.report.terminal import print_summary

    terminalreporter.section("vlm-parity")
    print_summary(load_run(state.run), Console())
