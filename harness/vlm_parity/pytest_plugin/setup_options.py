"""Options that select modes and entry points."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest

from vlm_parity.backends.registry import BUILT_IN, load_backend_class
from vlm_parity.pytest_plugin.option_table import AddOption, format_option, get_option
from vlm_parity.schema.engine_setup import DEFAULT_MODE, EntryPoint, is_selectable
from vlm_parity.schema.trace import Depth

ALL = "all"


def add_setup_options(add: AddOption) -> None:
    """Declare ``mode`` and ``entry-point``."""
    add(
        "mode",
        action="append",
        metavar="NAME",
        help=f"how the engine under test runs: {', '.join(known_modes(BUILT_IN))}, or {ALL}; repeatable "
        f"(default: {DEFAULT_MODE}, one request at a time with nothing cached). Others go with the entry point "
        f"{EntryPoint.CHAT} only",
    )
    add(
        "entry-point",
        action="append",
        metavar="NAME",
        help=f"API that cases go through: {', '.join(EntryPoint)}, or {ALL}; repeatable "
        f"(default: {EntryPoint.CHAT})",
    )


def selected_setups(config: pytest.Config, backends: Iterable[str]) -> list[tuple[str, EntryPoint]]:
    """Return the (mode, entry point) pairs under test. A backend that lacks one reports so in its verdicts.

    Raises:
        pytest.UsageError: no selected backend has one of them, it needs an engine and none runs at this depth,
            or it goes with nothing else that was selected.
    """
    backends = list(backends)
    at_tokens = get_option(config, "depth") == Depth.TOKENS
    modes = [DEFAULT_MODE] if at_tokens else known_modes(backends)
    entry_points = [
        name for name in known_entry_points(backends) if not (at_tokens and name.loads_own_engine)
    ]
    chosen_modes = _chosen(config, "mode", modes, DEFAULT_MODE, backends)
    chosen_entry_points = _chosen(config, "entry-point", entry_points, EntryPoint.CHAT, backends)
    setups = [
        (mode, EntryPoint(name))
        for mode in chosen_modes
        for name in chosen_entry_points
        if is_selectable(mode, EntryPoint(name))
    ]
    unpaired = set(chosen_modes) - {mode for mode, _ in setups}
    if unpaired:
        raise pytest.UsageError(
            f"{format_option(config, 'mode')} {min(unpaired)}: runs with {format_option(config, 'entry-point')} {EntryPoint.CHAT} only, which is not among the "
            f"selected ones: {', '.join(chosen_entry_points)}"
        )
    unpaired = set(chosen_entry_points) - {str(entry_point) for _, entry_point in setups}
    if unpaired:
        raise pytest.UsageError(
            f"{format_option(config, 'entry-point')} {min(unpaired)}: runs with {format_option(config, 'mode')} {DEFAULT_MODE} only, which is not among the "
            f"selected ones: {', '.join(chosen_modes)}"
        )
    return setups


def _chosen(
    config: pytest.Config, option: str, known: Sequence[str], default: str, backends: list[str]
) -> list[str]:
    named: list[str] = get_option(config, option) or [default]
    depth = get_option(config, "depth")
    for name in named:
        if name not in {*known, ALL}:
            raise pytest.UsageError(
                f"{format_option(config, option)} {name}: {', '.join(backends)} at {format_option(config, 'depth')} {depth} has: {', '.join(known)}"
            )
    return [str(name) for name in known] if ALL in named else list(dict.fromkeys(named))


def known_modes(backends: Iterable[str]) -> list[str]:
    """Return the modes of the backends, each name once."""
    own = (mode for backend in backends for mode in load_backend_class(backend).modes)
    return list(dict.fromkeys((DEFAULT_MODE, *own)))


def known_entry_points(backends: Iterable[str]) -> list[EntryPoint]:
    """Return the entry points of the backends, each once, in the order of ``EntryPoint``."""
    own = {entry_point for backend in backends for entry_point in load_backend_class(backend).entry_points}
    return [entry_point for entry_point in EntryPoint if entry_point is EntryPoint.CHAT or entry_point in own]
