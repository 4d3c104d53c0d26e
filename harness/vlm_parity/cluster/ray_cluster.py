"""A cluster of Ray: the connection, its nodes, and the tasks of a run.

Ray schedules: it places each task on a node with the resources, and runs it again on another node if its own
is lost. Nothing here decides where or when a load runs.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.text import Text

from vlm_parity.cluster.backend_environment import BackendEnvironment
from vlm_parity.cluster.load_resources import LoadResources
from vlm_parity.cluster.load_session import LoadCommand, LoadResult, run_load
from vlm_parity.util.errors import ClusterError
from vlm_parity.util.option_types import AUTO, LOCAL

MAX_RETRIES = 3
"""Of a load whose node or task was lost."""
_CONNECT_TIMEOUT_S = 10.0
_CANCEL_TIMEOUT_S = 15.0
_NEW_CLUSTER = {
    "include_dashboard": False,
    "object_store_memory": 512 * 2**20,  # for shards in transit; larger ones go to the disk
    "_node_ip_address": "127.0.0.1",
}
Task = Any
"""A reference of Ray to the result of a task."""


class ProgressBoard:
    """Actor that collects the lines of all tasks."""

    def __init__(self) -> None:
        self._lines: list[tuple[str, str, str]] = []

    def add(self, shard: str, node: str, line: str) -> None:
        """Add a line of a load."""
        self._lines.append((shard, node, line))

    def take(self) -> list[tuple[str, str, str]]:
        """Return the shard, the node and the text of each line since the last call."""
        lines, self._lines = self._lines, []
        return lines


class RayCluster:
    """The tasks of one run."""

    def __init__(self, ray: ModuleType) -> None:
        """Use a connected Ray; see ``connect_cluster``.

        Raises:
            ClusterError: tasks cannot run: vlm-parity is not installed on the nodes, or a token is missing.
        """
        self._ray = ray
        # On the node of this process: a lost node must not take the lines of the others with it.
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        self._board = ray.remote(ProgressBoard).options(num_cpus=0, scheduling_strategy=here).remote()
        self._task = ray.remote(_run_load_on_node)
        self.take_lines()

    def submit(self, command: LoadCommand, resources: LoadResources, environment: BackendEnvironment) -> Task:
        """Submit a load."""
        options: dict[str, Any] = {
            "name": command.shard,
            "num_cpus": resources.cpus,
            "num_gpus": resources.gpus,
            "memory": resources.memory,
            "max_retries": MAX_RETRIES,
        }
        if runtime_env := environment.build_runtime_env():
            options["runtime_env"] = runtime_env
        return self._task.options(**options).remote(command, self._board)

    def read_nodes(self) -> dict[str, Mapping[str, float]]:
        """Return the resources of each running node, by its name and the start of its id.

        Raises:
            ClusterError: the cluster has ended.
        """
        with self._report_failure():
            nodes = self._ray.nodes()
        return {
            f"{node['NodeManagerHostname']} ({node['NodeID'][:8]})": node["Resources"]
            for node in nodes
            if node["Alive"]
        }

    def wait(self, tasks: list[Task], seconds: float) -> list[Task]:
        """Wait until a task has ended, or the time is over; return the tasks that have ended.

        Raises:
            ClusterError: the cluster has ended.
        """
        with self._report_failure():
            return list(self._ray.wait(tasks, num_returns=1, timeout=seconds, fetch_local=False)[0])

    def take_lines(self) -> list[tuple[str, str, str]]:
        """Return the new lines of all tasks: shard, node, text.

        Raises:
            ClusterError: the cluster has ended.
        """
        with self._report_failure():
            lines: list[tuple[str, str, str]] = self._ray.get(self._board.take.remote())
        return lines

    def get_result(self, task: Task) -> LoadResult:
        """Return the result of a task that has ended.

        Raises:
            ClusterError: it has none: it failed, or its nodes were lost more than ``MAX_RETRIES`` times.
        """
        try:
            result: LoadResult = self._ray.get(task)
        except self._ray.exceptions.RayTaskError as error:
            raise ClusterError(_summarize(error.cause)) from error
        except self._ray.exceptions.RayError as error:
            raise ClusterError(_summarize(error)) from error
        return result

    @contextmanager
    def _report_failure(self) -> Iterator[None]:
        try:
            yield
        except self._ray.exceptions.RayError as error:
            raise ClusterError(f"the cluster failed: {_summarize(error)}") from error

    def cancel(self, tasks: list[Task]) -> None:
        """Cancel tasks and wait some seconds until their sessions have ended."""
        for task in tasks:
            self._ray.cancel(task)
        if tasks:
            self._ray.wait(tasks, num_returns=len(tasks), timeout=_CANCEL_TIMEOUT_S, fetch_local=False)


@contextmanager
def connect_cluster(address: str) -> Iterator[RayCluster]:
    """Connect to a cluster during a block; one that was started for it ends with it.

    In the block, the standard output is discarded: a console needs a file of its own.

    Args:
        address: ``HOST:PORT``, ``local`` for a new cluster on this machine, or ``auto`` for the one that runs
            on it, else a new one.

    Raises:
        ClusterError: Ray is not installed, the cluster cannot be reached, or tasks cannot run on it.
    """
    ray = _import_ray()
    if address not in {AUTO, LOCAL}:
        _check_reachable(address)
    handler = signal.getsignal(signal.SIGTERM)
    with Path(os.devnull).open("w") as null, redirect_stdout(null):  # Ray prints pages about a lost node
        try:
            _initialize(ray, address)
            signal.signal(signal.SIGTERM, handler)  # Ray's own exits without the report
            yield RayCluster(ray)
        finally:
            ray.shutdown()


def _initialize(ray: ModuleType, address: str) -> None:
    """Connect.

    Raises:
        ClusterError: it fails.
    """
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    try:
        try:
            ray.init(address=address, **settings, **(_NEW_CLUSTER if address == LOCAL else {}))
        except ConnectionError:
            if address != AUTO or os.environ.get("RAY_ADDRESS"):
                raise
            ray.init(address=LOCAL, **settings, **_NEW_CLUSTER)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise ClusterError(
            f"--cluster {address}: {_summarize(error)}; this machine must be a node of the cluster "
            "(`ray start --address=HOST:PORT`), with its versions of Ray and Python, and with "
            "RAY_AUTH_MODE=token if the cluster has a token"
        ) from error


def _check_reachable(address: str) -> None:
    """Connect once: Ray itself would try for minutes.

    Raises:
        ClusterError: nothing listens there.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise ClusterError(f"--cluster {address}: no cluster can be reached there: {error}") from error


def _import_ray() -> ModuleType:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise ClusterError(
            f"--cluster needs Ray ({error}): run `pip install 'vlm-parity[cluster]'` in this environment"
        ) from error
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # its errors are raised, too
    module: ModuleType = ray
    return module


def _run_load_on_node(command: LoadCommand, board: Any) -> LoadResult:
    """Run a load in a task."""
    node = os.uname().nodename
    board.add.remote(command.shard, node, "starting")
    return run_load(command, lambda line: board.add.remote(command.shard, node, line))


def _summarize(error: BaseException) -> str:
    """Return the first line of a message of Ray, and the last one, which ends a traceback."""
    first, *others = Text.from_ansi(str(error).strip()).plain.splitlines() or [type(error).__name__]
    return f"{first} ({others[-1].strip()})" if others else first
