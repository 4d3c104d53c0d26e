"""Collection of the tests that use the plug-in: parameters, deselection, order."""

from __future__ import annotations

import pytest

from vlm_parity.backends.registry import list_backend_targets
from vlm_parity.models.registry import FAMILIES
from vlm_parity.pytest_plugin.option_checks import check_options
from vlm_parity.pytest_plugin.option_table import get_option
from vlm_parity.pytest_plugin.selection import check_environment, check_models, get_backends, get_models
from vlm_parity.pytest_plugin.setup_options import get_setups
from vlm_parity.pytest_plugin.share_option import get_share_number
from vlm_parity.pytest_plugin.shares import build_share, format_share, name_load
from vlm_parity.pytest_plugin.state import get_state
from vlm_parity.pytest_plugin.target import Target, get_target, is_applicable, make_param, supports
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.session.plan import EngineLoad


def parametrize(metafunc: pytest.Metafunc, fixture: str) -> None:
    """Parametrize a test by model, backend, mode, entry point and case.

    Raises:
        pytest.UsageError: in a pytest-xdist worker, an option names something that does not exist. Elsewhere
            ``select_and_group_tests`` raises it.
    """
    config = metafunc.config
    state = get_state(config)
    try:
        check_environment(config)
        cases = state.get_suite_cases(metafunc.definition.path.parent)
        backends = get_backends(config)
        check_models(config, state.model_list)
        setups = get_setups(config, backends)
        check_options(config, state.folder.path, state.folder.shard)
    except pytest.UsageError as error:
        if state.folder.is_worker:
            raise  # pytest-xdist reports nothing but errors of the collection
        state.usage_error = error  # raised here, pytest would print it with a traceback
        return
    _register_markers(config)
    parameters = [
        make_param(Target(EngineLoad(model, backend, mode, entry_point), name), case)
        for model in get_models(config, state.model_list)
        for backend in backends
        for mode, entry_point in setups
        for name, case in cases.items()
        if supports(model, case, state.model_list) and is_applicable(case, mode, entry_point)
    ]
    state.selectable.update(parameter.values[0] for parameter in parameters)
    metafunc.parametrize(fixture, parameters, indirect=True)


def _register_markers(config: pytest.Config) -> None:
    registered = {line.partition(":")[0] for line in config.getini("markers")}
    for name in (*FAMILIES, *list_backend_targets()):
        if f"parity_{name}" not in registered:
            config.addinivalue_line("markers", f"parity_{name}: case of this family or backend")


def select_and_group_tests(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests that are deeper than the requested depth, and group the rest by engine.

    Raises:
        pytest.UsageError: an option names something that does not exist.
    """
    state = get_state(config)
    if state.usage_error is not None:
        raise state.usage_error
    is_shallow = get_option(config, "depth") == Depth.TOKENS
    deeper = {
        item
        for item in items
        if item.get_closest_marker("parity_logits")
        and (target := get_target(item))
        and (is_shallow or state.cases[target.case].depth == "tokens")
    }
    if deeper:
        config.hook.pytest_deselected(items=[item for item in items if item in deeper])
        items[:] = [item for item in items if item not in deeper]
    _select_share(config, items)
    groups: dict[EngineLoad, int] = {}

    def get_group(item: pytest.Item) -> int:
        target = get_target(item)
        return groups.setdefault(target.load, len(groups) + 1) if target else 0

    items.sort(key=get_group)


def _select_share(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the engine loads of other shares."""
    number = get_share_number(config)
    targets = dict.fromkeys(target for item in items if (target := get_target(item)))
    if number is None or not targets:
        return
    state = get_state(config)
    state.share = build_share(config, number, targets, state.cases)
    own = {(load.model, load.engine) for load in state.share.list_loads(number.number)}
    others = {item for item in items if (target := get_target(item)) and name_load(target) not in own}
    config.hook.pytest_deselected(items=[item for item in items if item in others])
    items[:] = [item for item in items if item not in others]
    state.reporter().report(format_share(state.share))


def store_targets(session: pytest.Session) -> None:
    """Store the selected targets in the state."""
    targets = (get_target(item) for item in session.items)
    get_state(session.config).targets = list(dict.fromkeys(target for target in targets if target))
