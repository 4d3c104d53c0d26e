"""The options of ``parity run --cluster``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from vlm_parity.cluster.backend_environment import parse_backend_environment
from vlm_parity.util.errors import UsageError
from vlm_parity.util.option_types import parse_amount, parse_cluster_address

_NEED_CLUSTER = ("backend-env", "load-cpus", "load-gpus", "load-memory")
CLUSTER_OPTIONS = ("cluster", *_NEED_CLUSTER)
_OWN_VALUES = ("backend", "model", "mode", "entry-point", "run")
"""Options of which every load has its own value."""


def add_cluster_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cluster`` and the options that need it."""
    add = parser.add_argument_group(
        "cluster", "engine loads as tasks of Ray (vlm-parity[cluster])"
    ).add_argument
    add(
        "--cluster",
        type=parse_cluster_address,
        metavar="ADDRESS",
        help="run each engine load as a task of a Ray cluster: HOST:PORT, local for a new cluster on this "
        "machine, or auto for the one that runs on it, else a new one",
    )
    add(
        "--backend-env",
        type=parse_backend_environment,
        action="append",
        default=[],
        metavar="BACKEND=ENV",
        help="environment of a backend on the nodes: path of a Python, image:IMAGE for a container, or "
        "uv:FILE for requirements that uv installs; repeatable (default: as for `parity check`)",
    )
    add("--load-cpus", type=parse_amount, metavar="N", help="CPUs reserved for an engine load (default: 1)")
    add(
        "--load-gpus",
        type=parse_amount,
        metavar="N",
        help="GPUs reserved for an engine load (default with --device cuda: the number that shares the "
        "model, by --engine-arg or the model list)",
    )
    add(
        "--load-memory",
        type=parse_amount,
        metavar="GIB",
        help="host memory reserved for an engine load (default: 4, on a CPU at least memory_gib of the model "
        "list)",
    )


def check_cluster_options(args: argparse.Namespace) -> None:
    """Check the options of a run without a cluster.

    Raises:
        UsageError: one needs ``--cluster``.
    """
    for name in _NEED_CLUSTER:
        if getattr(args, name.replace("-", "_")) not in (None, []):
            raise UsageError(f"--{name}: runs only with --cluster")


def remove_own_options(words: Sequence[str]) -> list[str]:
    """Return the words of ``parity run`` without the options of the cluster and those of a single load."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_cluster_options(parser)
    for name in _OWN_VALUES:
        parser.add_argument(f"--{name}", action="append")
    return parser.parse_known_args(list(words))[1]
