"""Division of the engine loads that a session selects, and the loads of its own share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import pytest

from vlm_parity import __version__
from vlm_parity.backends.registry import load_backend_class
from vlm_parity.capture.environment import get_versions
from vlm_parity.models.resolve import get_model_name
from vlm_parity.pytest_plugin.option_table import get_option
from vlm_parity.pytest_plugin.target import Target
from vlm_parity.schema.case import Case
from vlm_parity.schema.record import compute_digest
from vlm_parity.schema.share import PlannedLoad, Share
from vlm_parity.schema.timings import read_timings
from vlm_parity.session.shares import LoadName, assign_shares, estimate_seconds
from vlm_parity.util.commit import read_commit
from vlm_parity.util.share_number import ShareNumber

_RESULT_OPTIONS = ("depth", "device", "dtype", "reference-dtype", "engine-arg", "repeat", "no-retry")
"""Options that affect a verdict: the same in every share of a plan."""


def build_share(
    config: pytest.Config, number: ShareNumber, targets: Iterable[Target], cases: Mapping[str, Case]
) -> Share:
    """Divide the engine loads of a session into shares.

    Args:
        config: pytest's configuration.
        number: of the session's share.
        targets: every comparison of the plan, each once.
        cases: by name.

    Raises:
        UsageError: the timings, which ``check_options`` has checked, are not readable any more.
    """
    targets = list(targets)
    comparisons = Counter(map(name_load, targets))
    shares = assign_shares(estimate_seconds(comparisons, _read_seconds(config)), number.count)
    loads = tuple(
        PlannedLoad(model=model, engine=engine, comparisons=comparisons[model, engine], share=share)
        for (model, engine), share in sorted(shares.items())
    )
    return Share(
        number=number.number,
        count=number.count,
        plan=compute_digest(
            {
                "loads": [load.model_dump() for load in loads],
                "targets": sorted([*name_load(each), each.load.label, each.case] for each in targets),
                "cases": {each.case: cases[each.case].digest() for each in targets},
                "options": {name: get_option(config, name) for name in _RESULT_OPTIONS},
            }
        )[:12],
        commit=read_commit(config.rootpath),
        versions=_read_versions({each.load.backend for each in targets}),
        loads=loads,
    )


def name_load(target: Target) -> LoadName:
    """Return the names of a target's model and of the engine that it shares with other entry points."""
    return get_model_name(target.load.model), target.load.engine.label


def format_share(share: Share) -> str:
    """Return a line on a share: its loads, and their comparisons."""
    loads = share.list_loads(share.number)
    text = ", ".join(f"{load.model} {load.engine} ({load.comparisons})" for load in loads)
    return f"Share {share.number} of {share.count}: {text or 'no engine load, so nothing is compared'}"


def _read_seconds(config: pytest.Config) -> dict[LoadName, float]:
    path = get_option(config, "timings")
    seconds = read_timings(path).seconds if path is not None else {}
    loads = ((load.rpartition("/"), value) for load, value in seconds.items())
    return {(model, engine): value for (model, _, engine), value in loads}


def _read_versions(backends: Collection[str]) -> dict[str, str]:
    packages = {package for name in backends for package in load_backend_class(name).packages}
    return {"vlm-parity": __version__, **get_versions(tuple(sorted(packages)))}
