"""``parity store``: results of runs in a database, for baselines and trends."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from vlm_parity.cli.baseline import read_run_folder
from vlm_parity.cli.parsers import Commands, RunCommand, add_command
from vlm_parity.cli.store_option import add_store_option, print_migration
from vlm_parity.store.location import open_store, require_packages
from vlm_parity.util.errors import UsageError
from vlm_parity.util.exit_codes import PASSED
from vlm_parity.util.option_types import parse_count, parse_days, parse_path, parse_text
from vlm_parity.util.text import escape_terminal

if TYPE_CHECKING:
    from vlm_parity.changes.run_summary import RunSummary
    from vlm_parity.store.read_runs import StoredRun

_DESCRIPTION = """\
Keep the results of runs in a database: verdicts, stages, metrics, causes, environments, times. Traces and
pages stay in the run folders. The database is an SQLite file, or PostgreSQL by its URL; an older store is
migrated when it is opened.

  parity store import reports/latest
  parity store import reports/candidate --release 0.19.0
  parity store import artifact.zip --name "$CI_RUN_ID" --store postgresql://host/parity
  parity store list
  parity store prune --keep-last 100 --yes
"""
_IMPORT = """\
Store the results of runs. A run that was imported before is updated; a shard with the same results is left as
it is.
"""
_PRUNE = """\
Delete runs that are neither a release nor kept by a limit. With both limits, a run is deleted only if both
select it. Without --yes, the runs are only listed.
"""
_EXIT_CODES = """\
exit codes:
  0  done
  2  usage error: a run does not exist or holds no shard, or the store does not exist or is not supported
  3  the database cannot be reached, read or written
"""


def add_commands(commands: Commands) -> None:
    """Add ``store`` with its own commands."""
    store = commands.add_parser(
        "store",
        help="keep the results of runs in a database",
        description=_DESCRIPTION,
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    own = store.add_subparsers(required=True, metavar="COMMAND")
    _add_import(own)
    listing = _add(
        own, "list", _list, "print the runs, the newest first", "Print the runs, the newest first."
    )
    add_store_option(listing)
    show = _add(own, "show", _show, "print the results of a run", "Print the results of a run.")
    show.add_argument(
        "name", type=parse_text, metavar="RUN", help="name or release; the newest run of several"
    )
    add_store_option(show)
    prune = _add(own, "prune", _prune, "delete old runs", _PRUNE)
    prune.add_argument(
        "--keep-last", type=parse_count, metavar="N", help="keep the newest runs; releases do not count"
    )
    prune.add_argument("--older-than", type=parse_days, metavar="DAYS", help="keep runs that started later")
    prune.add_argument("--yes", action="store_true", help="delete the runs; without it they are only listed")
    add_store_option(prune)


def _add(
    commands: Commands, name: str, run: RunCommand, summary: str, description: str
) -> argparse.ArgumentParser:
    return add_command(commands, name, run, summary=summary, description=description, exit_codes=_EXIT_CODES)


def _add_import(commands: Commands) -> None:
    parser = _add(commands, "import", _import, "store the results of runs", _IMPORT)
    add = parser.add_argument
    add("runs", nargs="+", type=parse_path, metavar="RUN", help="run folder, or a zip file of one")
    add(
        "--name",
        type=parse_text,
        help="name in the store (default: that of the folder); imports under the same given name are one run",
    )
    add("--release", type=parse_text, help="release that the run is the record of")
    add("--branch", type=parse_text, help="branch that was tested")
    add("--commit", type=parse_text, help="commit that was tested")
    add(
        "--evidence",
        type=parse_text,
        metavar="URL",
        help="place where the run folder is kept (default: its present path)",
    )
    add_store_option(parser)


def _import(args: argparse.Namespace) -> int:
    require_packages()
    from vlm_parity.store.import_run import RunLabels, import_run

    runs = {path: _read_run(path) for path in args.runs}
    store = open_store(args.store, print_migration, create=True)
    for path, run in runs.items():
        labels = RunLabels(
            name=args.name or "",
            release=args.release or "",
            branch=args.branch or "",
            revision=args.commit or "",
            evidence=args.evidence or str(path.resolve()),
        )
        effects = import_run(store, run, labels)
        shown = ", ".join(f"{name} {effect}" for name, effect in effects.items())
        _print(f"{args.name or run.name}: {len(run.comparisons)} comparisons; {shown}")
    return PASSED


def _read_run(path: Path) -> RunSummary:
    from vlm_parity.store.archive import SUFFIX, read_archived_run

    if path.suffix == SUFFIX and path.is_file():
        run = read_archived_run(path)
        if not run.shards:
            raise UsageError(f"RUN {path}: holds no shard of a run")
        return run
    return read_run_folder("RUN", path)


def _list(args: argparse.Namespace) -> int:
    require_packages()
    from vlm_parity.store.read_runs import list_runs
    from vlm_parity.store.terminal import print_runs

    print_runs(list_runs(open_store(args.store, print_migration)), Console())
    return PASSED


def _show(args: argparse.Namespace) -> int:
    require_packages()
    from vlm_parity.store.baseline import find_run
    from vlm_parity.store.read_runs import read_run
    from vlm_parity.store.terminal import print_run

    store = open_store(args.store, print_migration)
    stored = find_run(store, args.name)
    print_run(stored, read_run(store, stored.key), Console())
    return PASSED


def _prune(args: argparse.Namespace) -> int:
    require_packages()
    from vlm_parity.store.retention import delete_runs, list_prunable_runs
    from vlm_parity.store.terminal import print_runs

    if args.keep_last is None and args.older_than is None:
        raise UsageError("name the runs to keep, by --keep-last N, --older-than DAYS or both")
    store = open_store(args.store, print_migration)
    runs = list_prunable_runs(store, keep_last=args.keep_last, older_than_days=args.older_than)
    print_runs(runs, Console())
    if args.yes:
        delete_runs(store, runs)
    _print(_format_pruned(runs, is_done=args.yes))
    return PASSED


def _format_pruned(runs: tuple[StoredRun, ...], *, is_done: bool) -> str:
    count = f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}"
    if is_done or not runs:
        return f"{count} deleted."
    return f"{count} would be deleted; --yes deletes {'it' if len(runs) == 1 else 'them'}."


def _print(line: str) -> None:
    sys.stdout.write(f"{escape_terminal(line)}\n")
