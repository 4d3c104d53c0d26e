"""``parity run --cluster``: from the options to the tasks of a run."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from vlm_parity.cluster.backend_environment import BackendEnvironment, find_environments
from vlm_parity.cluster.dispatch import LoadTask, run_tasks
from vlm_parity.cluster.load_plan import ClusterLoad, plan_loads
from vlm_parity.cluster.load_resources import LoadResources, ResourceLimits, select_resources
from vlm_parity.cluster.load_session import LoadCommand
from vlm_parity.models.model_list import ListedModel
from vlm_parity.pytest_plugin.load_collection import collect_loads
from vlm_parity.pytest_plugin.option_table import PREFIX
from vlm_parity.pytest_plugin.run_pytest import add_prefix
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.util.clock import format_timestamp
from vlm_parity.util.environment_variables import CACHE_VARIABLE, VARIABLES, check_variables, read_path
from vlm_parity.util.errors import UsageError
from vlm_parity.util.exit_codes import NOT_COMPARED
from vlm_parity.util.option_paths import check_output_folder


def run_on_cluster(
    args: argparse.Namespace, shared_words: Sequence[str], pytest_words: Sequence[str], names: frozenset[str]
) -> int:
    """Run the selected engine loads on a cluster.

    Args:
        args: the arguments of ``parity run``.
        shared_words: the words of ``parity run`` that are the same for every load, with the tests to run.
        pytest_words: the options of pytest, after ``--``.
        names: the short names of the plug-in's options.

    Returns:
        The exit code.

    Raises:
        ClusterError, EngineNotInstalledError, UsageError: as ``run_tasks``, ``find_environments`` and
            ``collect_loads``.
    """
    check_variables()
    for word in pytest_words:
        if word.startswith(PREFIX):
            raise UsageError(f"{word}: with --cluster, write --{word.removeprefix(PREFIX)} in front of --")
    run_folder: Path = args.run or Path("reports") / format_timestamp()
    check_output_folder("--run", run_folder)
    given = dict(args.backend_env)
    backends = args.backend or list(find_environments((), given))
    selected = [*shared_words, *_select(args, backends)]
    collected = collect_loads([*add_prefix(selected, names), *pytest_words])
    if not collected.cases:
        sys.stderr.write("parity run: no test was selected, so nothing was compared\n")
        return NOT_COMPARED
    environments = find_environments(backends, given)
    tasks = [
        LoadTask(
            load,
            _build_command(load, environments[load.engine.backend], shared_words, pytest_words),
            _select_resources(args, load, collected.model_list),
            environments[load.engine.backend],
        )
        for load in plan_loads(collected.cases)
    ]
    return run_tasks(
        args.cluster, tasks, run_folder, shlex.join(["parity", *sys.argv[1:]]), Console(file=sys.stdout)
    )


def _select(args: argparse.Namespace, backends: Sequence[str]) -> Iterator[str]:
    """Yield the options that select the loads of all sessions together."""
    for option, values in (
        ("backend", backends),
        ("model", args.model),
        ("mode", args.mode),
        ("entry-point", args.entry_point),
    ):
        yield from (f"--{option}={value}" for value in values or ())


def _build_command(
    load: ClusterLoad,
    environment: BackendEnvironment,
    shared_words: Sequence[str],
    pytest_words: Sequence[str],
) -> LoadCommand:
    return LoadCommand(
        shard=load.name,
        words=(*shared_words, *load.words),
        pytest_words=tuple(pytest_words),
        folder=str(Path.cwd()),
        python=environment.python,
        variables=_read_variables(),
    )


def _select_resources(
    args: argparse.Namespace, load: ClusterLoad, model_list: Mapping[str, ListedModel]
) -> LoadResources:
    return select_resources(
        load.engine,
        ResourceLimits(args.load_cpus, args.load_gpus, args.load_memory),
        model_list,
        device=args.device,
        depth=Depth(args.depth),
        engine_args={name: value for name, _, value in (text.partition("=") for text in args.engine_arg)},
    )


def _read_variables() -> dict[str, str]:
    """Return the variables of vlm-parity, with an absolute path of the cache."""
    variables = {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}
    cache = read_path(CACHE_VARIABLE)
    return variables if cache is None else {**variables, CACHE_VARIABLE: str(cache)}
