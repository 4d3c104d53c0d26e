"""Loads on a cluster: submitted as tasks, their shards received into one run folder, one report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from rich.console import Console

from vlm_parity.cluster.backend_environment import BackendEnvironment
from vlm_parity.cluster.load_plan import ClusterLoad
from vlm_parity.cluster.load_resources import LoadResources, describe_misfit
from vlm_parity.cluster.load_session import LoadCommand, LoadResult
from vlm_parity.cluster.progress import ClusterProgress, track_loads
from vlm_parity.cluster.ray_cluster import RayCluster, Task, connect_cluster
from vlm_parity.cluster.shard_receiver import ShardReceiver
from vlm_parity.report.load_run import LoadedRun
from vlm_parity.report.publish import publish_report, withdraw_report
from vlm_parity.report.terminal import print_summary
from vlm_parity.util.errors import ClusterError
from vlm_parity.util.exit_codes import FAILED, NOT_COMPARED, PASSED
from vlm_parity.util.interrupts import delay_interrupts
from vlm_parity.util.writable_folder import ensure_writable_run

_WAIT_S = 0.5
"""Seconds between two updates of the progress."""
_NOTICE = "parity run: writing the report; another interrupt abandons it"


@dataclass(frozen=True)
class LoadTask:
    """A planned load with everything that Ray needs to run it."""

    load: ClusterLoad
    command: LoadCommand
    resources: LoadResources
    environment: BackendEnvironment


def run_tasks(
    address: str, tasks: Sequence[LoadTask], run_folder: Path, command: str, console: Console
) -> int:
    """Run loads on a cluster and write one report of their shards.

    Args:
        address: of the cluster, as for ``connect_cluster``.
        tasks: one or more loads.
        run_folder: the run folder.
        command: the command line of the run.
        console: the terminal, for progress and the result, with a file of its own.

    Returns:
        The exit code.

    Raises:
        ClusterError: the cluster cannot be reached, no node has the resources of a load, or the cluster has
            ended before the run; a report is written in this case.
        KeyboardInterrupt: the run was interrupted; its report is written.
        UsageError: the run folder cannot be written, or another session uses a shard.
    """
    with connect_cluster(address) as cluster:
        nodes = cluster.read_nodes()
        for task in tasks:
            if misfit := describe_misfit(task.resources, nodes.values()):
                raise ClusterError(f"{task.load.name}: {misfit}")
        ensure_writable_run(run_folder)
        receiver = ShardReceiver(run_folder, (task.load for task in tasks), command)
        withdraw_report(run_folder)
        try:
            with track_loads(console, len(tasks)) as progress:
                _Dispatch(cluster, receiver, progress).run(tasks)
        finally:
            receiver.release()
            with delay_interrupts(_NOTICE):
                run = publish_report(run_folder)
                print_summary(run, console)
    return _select_exit_code(run)


class _Dispatch:
    """Submission of the loads, and reception of their results as they come.

    The first load of each model and backend computes the references; the others are submitted when it has
    ended, and find them in the cache. Two at once would compute them twice.
    """

    def __init__(self, cluster: RayCluster, receiver: ShardReceiver, progress: ClusterProgress) -> None:
        self._cluster, self._receiver, self._progress = cluster, receiver, progress
        self._waiting: dict[tuple[str, str], list[LoadTask]] = {}
        self._pending: dict[Task, LoadTask] = {}
        self._nodes: set[str] = set()

    def run(self, tasks: Sequence[LoadTask]) -> None:
        """Run all loads to their ends; an interrupt or an error cancels those that have not ended."""
        try:
            for task in tasks:
                self._waiting.setdefault(task.load.references, []).append(task)
            for group in self._waiting.values():
                self._submit(group.pop(0))
            while self._pending:
                ended = self._cluster.wait(list(self._pending), _WAIT_S)
                self._report_lines()
                for submitted in ended:
                    self._receive(submitted)
                self._check_nodes()
        except BaseException as error:
            with delay_interrupts(_NOTICE):
                self._cluster.cancel(list(self._pending))
                self._fail_all(_describe_end(error))
            raise

    def _submit(self, task: LoadTask) -> None:
        submitted = self._cluster.submit(task.command, task.resources, task.environment)
        self._pending[submitted] = task

    def _submit_waiting(self, ended: LoadTask) -> None:
        """Submit the loads that need the references of one that has ended, with or without a result."""
        for task in self._waiting.pop(ended.load.references, ()):
            self._submit(task)

    def _report_lines(self) -> None:
        for shard, node, line in self._cluster.take_lines():
            self._progress.report_line(shard, node, line)

    def _receive(self, submitted: Task) -> None:
        task = self._pending.pop(submitted)
        self._submit_waiting(task)
        try:
            result = self._cluster.get_result(submitted)
        except ClusterError as error:
            self._fail(task, str(error))
            return
        self._receiver.receive(task.load, result)
        self._progress.report_end(task.load.name, _format_outcome(result))

    def _check_nodes(self) -> None:
        """Report lost nodes, and fail the loads that no other node has the resources for."""
        nodes = self._cluster.read_nodes()
        for name in self._nodes - set(nodes):
            self._progress.report_note(f"node {name} was lost; its loads run elsewhere")
        self._nodes = set(nodes)
        for submitted, task in list(self._pending.items()):
            if misfit := describe_misfit(task.resources, nodes.values()):
                self._cluster.cancel([submitted])
                del self._pending[submitted]
                self._fail(task, misfit)
                self._submit_waiting(task)

    def _fail_all(self, reason: str) -> None:
        for task in (*self._pending.values(), *chain.from_iterable(self._waiting.values())):
            self._fail(task, reason)

    def _fail(self, task: LoadTask, reason: str) -> None:
        self._receiver.fail(task.load, reason)
        self._progress.report_end(task.load.name, f"no result: {reason}")


def _describe_end(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "the run was interrupted"
    return str(error) or type(error).__name__


def _format_outcome(result: LoadResult) -> str:
    return f"{result.failure or 'received'}, {result.seconds:.0f} s"


def _select_exit_code(run: LoadedRun) -> int:
    if run.passes:
        return PASSED
    is_compared = all(entry.verdict.kind.passes for entry in run.verdicts)
    return NOT_COMPARED if is_compared and run.incomplete else FAILED
