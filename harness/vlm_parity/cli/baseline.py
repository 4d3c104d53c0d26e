"""The baseline of a run: a folder, or a run in the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vlm_parity.changes.policy import DEFAULT_FACTOR
from vlm_parity.cli.store_option import print_migration
from vlm_parity.store.location import open_store, require_packages
from vlm_parity.util.errors import UsageError
from vlm_parity.util.option_paths import check_folder, path_exists

if TYPE_CHECKING:
    from vlm_parity.changes.comparison import Identity
    from vlm_parity.changes.run_summary import RunSummary
    from vlm_parity.report.run_changes import CompareRun, Onset, RunChanges
    from vlm_parity.report.run_comparison import RunComparison
    from vlm_parity.store.database import Store

BASELINE_HELP = (
    "a run folder, or a run in the store: last, last-green, a release or a name; a folder is preferred"
)


def read_run_folder(option: str, folder: Path) -> RunSummary:
    """Read the results of a run folder.

    Raises:
        UsageError: it does not exist or holds no shard.
    """
    from vlm_parity.report.summarize_run import read_run_summary

    check_folder(option, folder)
    run = read_run_summary(folder)
    if not run.shards:
        raise UsageError(f"{option} {folder}: {run.problems[-1].removeprefix('Problem: ')}")
    return run


def read_baseline(name: str, location: str | None, run: RunSummary) -> RunSummary:
    """Return the results of the baseline: of a folder, if there is one, else of a run in the store.

    Args:
        name: the baseline, as the user names it.
        location: of the store; None for the default.
        run: the run that is compared with it.

    Raises:
        UsageError: there is no such folder or run.
        StoreError: the store cannot be read.
    """
    if _is_folder(name):
        return read_run_folder("--baseline", Path(name))
    with _name_baseline(name):
        store = _open_store(location)
        from vlm_parity.store.baseline import find_baseline

        return find_baseline(store, name, run)


def build_comparer(name: str, location: str | None) -> CompareRun:
    """Return a function that compares a run with a baseline, for its report.

    A folder is read now, so that a wrong name shows before anything is written. A store also has the runs
    since which comparisons differ.

    Args:
        name: the baseline, as the user names it.
        location: of the store; None for the default.

    Raises:
        UsageError: there is no such folder or store.
        StoreError: the store cannot be read.
    """
    from vlm_parity.report.run_changes import RunChanges
    from vlm_parity.report.run_comparison import compare_runs

    if _is_folder(name):
        baseline = read_run_folder("--baseline", Path(name))
        return lambda run: RunChanges(compare_runs(baseline, run, DEFAULT_FACTOR))
    with _name_baseline(name):
        store = _open_store(location)
    from vlm_parity.store.baseline import find_baseline

    def compare(run: RunSummary) -> RunChanges:
        with _name_baseline(name):
            baseline = find_baseline(store, name, run)
        comparison = compare_runs(baseline, run, DEFAULT_FACTOR)
        return RunChanges(comparison, _find_onsets(store, comparison))

    return compare


def _is_folder(name: str) -> bool:
    """Return whether a baseline is a path, or the name of a folder that exists."""
    folder = Path(name)
    return len(folder.parts) != 1 or name != folder.name or path_exists("--baseline", folder)


def _open_store(location: str | None) -> Store:
    require_packages()
    return open_store(location, print_migration)


@contextmanager
def _name_baseline(name: str) -> Iterator[None]:
    """Name the baseline in the message of a usage error."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"--baseline {name}: no such folder; {error}") from error


def _find_onsets(store: Store, comparison: RunComparison) -> dict[Identity, Onset]:
    """Return the first run of each difference that the baseline has, too."""
    from vlm_parity.changes.comparison import State
    from vlm_parity.report.run_changes import Onset
    from vlm_parity.store.onsets import find_onset

    onsets = {}
    for change in comparison.changes:
        pair = change.baseline, change.run
        if any(each is None or each.state is not State.DIFFERS for each in pair) or change.run is None:
            continue
        point = find_onset(store, change.run, comparison.run.started)
        if point is not None:
            onsets[change.run.identity] = Onset(point.run, point.started)
    return onsets
