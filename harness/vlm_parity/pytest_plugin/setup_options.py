"""Options that select modes and entry points."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest

from vlm_parity.backends.registry import load_backend_class
from vlm_parity.pytest_plugin.option_table import AddOption, format_option, get_option
from vlm_parity.schema.engine_setup import BUILT_IN_MODES, DEFAULT_MODE, Depth, EntryPoint, is_selectable
from vlm_parity.util.suggestions import describe_unknown_name

ALL = "all"


def add_setup_options(add: AddOption) -> None:
    """Declare ``mode`` and ``entry-point``."""
    add(
        "mode",
        action="append",
        metavar="NAME",
        help=f"mode of the engine under test: {', '.join(BUILT_IN_MODES)}, or {ALL}; repeatable "
        f"(default: {DEFAULT_MODE}, one request at a time with nothing cached). Other modes are combined "
        f"with the entry point {EntryPoint.CHAT} only",
    )
    add(
        "entry-point",
        action="append",
        metavar="NAME",
        help=f"API that cases go through: {', '.join(EntryPoint)}, or {ALL}; repeatable "
        f"(default: {EntryPoint.CHAT})",
    )


def get_setups(config: pytest.Config, backends: Iterable[str]) -> list[tuple[str, EntryPoint]]:
    """Return the (mode, entry point) pairs under test. A backend that lacks one reports so in its verdicts.

    Raises:
        pytest.UsageError: no selected backend has a mode or entry point, it needs an engine and none runs at
            this depth, or it cannot be combined with any other selected value.
    """
    backends = list(backends)
    at_tokens = get_option(config, "depth") == Depth.TOKENS
    known_modes = [DEFAULT_MODE] if at_tokens else list_modes(backends)
    known_entry_points = [
        name for name in list_entry_points(backends) if not (at_tokens and name.loads_own_engine)
    ]
    modes = _get_selected(config, "mode", known_modes, DEFAULT_MODE, backends)
    entry_points = _get_selected(config, "entry-point", known_entry_points, EntryPoint.CHAT, backends)
    setups = [
        (mode, EntryPoint(name))
        for mode in modes
        for name in entry_points
        if is_selectable(mode, EntryPoint(name))
    ]
    _check_pairs(config, ("mode", modes), {mode for mode, _ in setups}, ("entry-point", entry_points))
    used_entry_points = {str(entry_point) for _, entry_point in setups}
    _check_pairs(config, ("entry-point", entry_points), used_entry_points, ("mode", modes))
    return setups


def _check_pairs(
    config: pytest.Config,
    selected: tuple[str, Sequence[str]],
    used: set[str],
    other: tuple[str, Sequence[str]],
) -> None:
    """Raise a usage error if a selected value is in no pair with a selected value of the other option."""
    (option, values), (other_option, other_values) = selected, other
    unpaired = set(values) - used
    if not unpaired:
        return
    partner = EntryPoint.CHAT if option == "mode" else DEFAULT_MODE
    raise pytest.UsageError(
        f"{format_option(config, option)} {min(unpaired)}: runs only with "
        f"{format_option(config, other_option)} {partner}, which is not selected; selected: "
        f"{', '.join(other_values)}"
    )


def _get_selected(
    config: pytest.Config, option: str, known: Sequence[str], default: str, backends: list[str]
) -> list[str]:
    requested: list[str] = get_option(config, option) or [default]
    depth = get_option(config, "depth")
    for name in requested:
        if name not in {*known, ALL}:
            setup = f"{', '.join(backends)} at {format_option(config, 'depth')} {depth} has"
            raise pytest.UsageError(
                describe_unknown_name(
                    format_option(config, option), name, known, "not available", listing=setup
                )
            )
    return [str(name) for name in known] if ALL in requested else list(dict.fromkeys(requested))


def list_modes(backends: Iterable[str]) -> list[str]:
    """Return the modes of the backends, each name once."""
    modes = (mode for backend in backends for mode in load_backend_class(backend).modes)
    return list(dict.fromkeys((DEFAULT_MODE, *modes)))


def list_entry_points(backends: Iterable[str]) -> list[EntryPoint]:
    """Return the entry points of the backends, each once, in the order of ``EntryPoint``."""
    known = {entry_point for backend in backends for entry_point in load_backend_class(backend).entry_points}
    return [name for name in EntryPoint if name is EntryPoint.CHAT or name in known]
