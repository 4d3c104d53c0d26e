"""Selection of a baseline in the store: by name, by release, or the last run that can be compared."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeAlias

from sqlalchemy import select

from vlm_parity.changes.comparison import Identity
from vlm_parity.changes.run_summary import RunSummary
from vlm_parity.store.database import Store
from vlm_parity.store.read_runs import StoredRun, list_runs, read_run
from vlm_parity.store.rows import normalize_time, read_identity
from vlm_parity.store.tables import COMPARISON, IDENTITY, SHARD
from vlm_parity.util.errors import UsageError
from vlm_parity.util.suggestions import suggest_names

LAST, LAST_GREEN = "last", "last-green"
LEAST_OVERLAP = 0.5
"""Part of the comparisons of two runs that both hold, at least: a run of a few cases is no baseline."""
_Names: TypeAlias = frozenset[Identity]


def find_baseline(store: Store, name: str, run: RunSummary) -> RunSummary:
    """Return the results of the run that a baseline names.

    Args:
        store: the store.
        name: ``last``, ``last-green``, or as for ``find_run``.
        run: the run to compare with it.

    Raises:
        UsageError: the store holds no such run.
        StoreError: the store cannot be read.
    """
    if name in {LAST, LAST_GREEN}:
        return read_run(store, find_last(store, run, must_pass=name == LAST_GREEN).key)
    return read_run(store, find_run(store, name, _find_own_runs(store, run)).key)


def find_run(store: Store, name: str, excluded: Collection[int] = ()) -> StoredRun:
    """Return the newest run of a release, else the newest run of a name.

    Args:
        store: the store.
        name: of a release or a run.
        excluded: keys of runs that are not meant, such as the run that is compared with this one.

    Raises:
        UsageError: the store holds no such run.
        StoreError: the store cannot be read.
    """
    runs = [each for each in list_runs(store) if each.key not in excluded]
    found = [each for each in runs if each.release == name] or [each for each in runs if each.name == name]
    if found:
        return found[0]
    names = {text for each in runs for text in (each.release, each.name) if text}
    question = suggest_names(name, names | {LAST, LAST_GREEN}) or "`parity store list` prints the runs"
    raise UsageError(f"store {store.name}: holds no release and no run {name!r}; {question}")


def find_last(store: Store, run: RunSummary, *, must_pass: bool) -> StoredRun:
    """Return the newest earlier run that has enough comparisons in common with a run.

    Raises:
        UsageError: the store holds no such run.
        StoreError: the store cannot be read.
    """
    kind = "passing run" if must_pass else "run"
    candidates = [each for each in _list_earlier_runs(store, run) if each.passes or not must_pass]
    own = _drop_digests(each.identity for each in run.comparisons)
    for candidate in candidates:
        if _compute_overlap(own, _read_names(store, candidate.key)) >= LEAST_OVERLAP:
            return candidate
    if candidates:
        raise UsageError(
            f"store {store.name}: no earlier {kind} has half of its comparisons in common with run "
            f"{run.name}; the newest of {len(candidates)} is {candidates[0].name}: name a run or a release"
        )
    raise UsageError(
        f"store {store.name}: holds no {kind} that started before run {run.name} ({run.started}); "
        "`parity store list` prints the runs"
    )


def _list_earlier_runs(store: Store, run: RunSummary) -> list[StoredRun]:
    started, own = normalize_time(run.started), _find_own_runs(store, run)
    return [
        each
        for each in list_runs(store)
        if started is not None and each.key not in own and (each.started or "") < started
    ]


def _find_own_runs(store: Store, run: RunSummary) -> set[int]:
    """Return the keys of the stored runs that hold a shard of a run."""
    sessions = [shard.session for shard in run.shards]
    with store.read() as connection:
        return set(connection.scalars(select(SHARD.c.run).where(SHARD.c.session.in_(sessions))))


def _read_names(store: Store, key: int) -> _Names:
    held = select(COMPARISON.c.identity).join(SHARD).where(SHARD.c.run == key)
    with store.read() as connection:
        rows = connection.execute(select(IDENTITY).where(IDENTITY.c.digest.in_(held))).all()
    return _drop_digests(map(read_identity, rows))


def _drop_digests(identities: Iterable[Identity]) -> _Names:
    return frozenset(each.drop_digests() for each in identities)


def _compute_overlap(own: _Names, other: _Names) -> float:
    """Return the part of the comparisons of two runs that both hold, from 0 to 1."""
    return len(own & other) / len(own | other) if own | other else 0.0
