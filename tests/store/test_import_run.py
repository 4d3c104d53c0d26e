"""Imports: what is stored is what is loaded, once or again, renamed, merged or grown."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from tests.support.comparisons import TEXTS, comparisons, make_run
from tests.support.verdicts import make_shard_summary, make_verdict
from vlm_parity.changes.comparison import Comparison
from vlm_parity.changes.run_summary import RunSummary, ShardSummary
from vlm_parity.report.run_comparison import compare_runs
from vlm_parity.schema.run import ModelInfo
from vlm_parity.schema.trace import Stage
from vlm_parity.store.database import Store
from vlm_parity.store.import_run import RunLabels, ShardImport, import_run
from vlm_parity.store.read_runs import StoredRun, list_runs, read_run
from vlm_parity.store.tables import METADATA

VISION = {Stage.VISION: 50.0}


def load(store: Store) -> RunSummary:
    (stored,) = list_runs(store)
    return read_run(store, stored.key)


def list_names(store: Store) -> list[tuple[str, int]]:
    return [(run.name, run.shards) for run in list_runs(store)]


def count_rows(store: Store) -> dict[str, int]:
    with store.read() as connection:
        return {
            name: connection.scalar(select(func.count()).select_from(table)) or 0
            for name, table in METADATA.tables.items()
        }


@given(st.lists(comparisons(), max_size=5), TEXTS.filter(len), st.lists(TEXTS, max_size=2))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_what_is_stored_is_loaded(
    store: Store, found: list[Comparison], name: str, problems: list[str]
) -> None:
    shard = make_shard_summary(
        comparisons=tuple(found),
        problems=tuple(problems),
        lock="vllm aa",
        models=(ModelInfo(name="m", family="f", source="s", digest="d"),),
        seconds={"m/vllm/load": 1.5},
    )
    import_run(store, RunSummary(name, "test", (shard,)), RunLabels(release=name))
    loaded = load(store)
    assert (loaded.name, loaded.release) == (name, name)
    assert repr(loaded.shards) == repr((shard,)), "NaN is equal to NaN in a text"


@given(st.lists(comparisons(), max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_a_run_against_itself_through_the_store_has_no_change(store: Store, found: list[Comparison]) -> None:
    run = make_run(make_shard_summary(comparisons=tuple(found)))
    import_run(store, run)
    comparison = compare_runs(load(store), run, 2)
    assert all(change.is_same and not change.is_worse and not change.remarks for change in comparison.changes)
    assert comparison.environment == ()


def test_a_second_import_writes_nothing(store: Store) -> None:
    run = make_run(make_shard_summary(make_verdict(VISION), make_verdict(case="other")))
    assert import_run(store, run) == {"vllm": ShardImport.ADDED}
    before = count_rows(store)
    assert import_run(store, run) == {"vllm": ShardImport.UNCHANGED}
    assert count_rows(store) == before
    assert before["comparison"] == before["identity"] == 2
    assert before["environment"] == 1, "equal environments are one row"


def test_a_shard_that_grew_replaces_itself(store: Store) -> None:
    import_run(store, make_run(make_shard_summary(make_verdict(), problems=("it is still running",))))
    grown = make_run(make_shard_summary(make_verdict(), make_verdict(VISION, case="other")))
    assert import_run(store, grown) == {"vllm": ShardImport.REPLACED}
    assert load(store).comparisons == grown.comparisons
    assert (count_rows(store)["shard"], load(store).problems) == (1, ())


def test_an_older_snapshot_does_not_replace_a_finished_shard(store: Store) -> None:
    """Two sessions write one run: the one that ends first has read the other's shard half written."""
    finished = make_shard_summary(make_verdict())
    early = make_shard_summary(finished=None, problems=("Shard vllm is incomplete: still running.",))
    import_run(store, make_run(finished))
    import_run(store, make_run(early))
    (shard,) = load(store).shards
    assert (shard.finished, len(shard.comparisons), shard.problems) == (finished.finished, 1, ())


def test_shards_of_a_run_arrive_one_by_one(store: Store) -> None:
    first, second = make_shard_summary(session="1"), make_shard_summary(name="lmdeploy", session="2")
    import_run(store, make_run(first))
    effects = import_run(store, make_run(first, second))
    assert effects == {"vllm": ShardImport.UNCHANGED, "lmdeploy": ShardImport.ADDED}
    assert list_names(store) == [("run", 2)]


def test_a_folder_that_is_used_again_is_another_run(store: Store) -> None:
    import_run(store, make_run(make_shard_summary(session="1")))
    import_run(store, make_run(make_shard_summary(session="2")))
    assert list_names(store) == [("run", 1), ("run", 1)]


def test_a_given_name_joins_the_imports_of_several_machines(store: Store) -> None:
    labels = RunLabels(name="build 7")
    import_run(store, make_run(make_shard_summary(session="1")), labels)
    import_run(store, make_run(make_shard_summary(name="lmdeploy", session="2"), name="other"), labels)
    assert list_names(store) == [("build 7", 2)]
    again = import_run(store, make_run(make_shard_summary(session="3")), labels)
    assert again == {"vllm": ShardImport.REPLACED}, "a job that ran again"
    assert list_names(store) == [("build 7", 2)]


def test_a_merged_run_takes_the_shards_over(store: Store) -> None:
    shards = make_shard_summary(session="1"), make_shard_summary(name="lmdeploy", session="2")
    for shard in shards:
        import_run(store, make_run(shard, name=shard.name))
    import_run(store, make_run(*shards, name="merged"))
    assert list_names(store) == [("merged", 2)]


def test_a_renamed_run_keeps_its_labels(store: Store) -> None:
    shard = make_shard_summary()
    import_run(store, make_run(shard), RunLabels(release="0.18.0", branch="main", revision="abc"))
    import_run(store, make_run(shard, name="renamed"), RunLabels(branch="release"))
    (run,) = list_runs(store)
    assert (run.name, run.release, run.branch, run.revision) == ("renamed", "0.18.0", "release", "abc")


def test_a_part_of_a_stored_run_is_a_run_of_its_own(store: Store) -> None:
    shards = make_shard_summary(session="1"), make_shard_summary(name="lmdeploy", session="2")
    import_run(store, make_run(*shards, name="both"))
    import_run(store, make_run(shards[0], name="part"))
    assert sorted(list_names(store)) == [("both", 1), ("part", 1)]


def get_run(store: Store, shard: ShardSummary, *problems: str) -> StoredRun:
    import_run(store, RunSummary("run", "test", (shard,), own_problems=problems))
    (run,) = list_runs(store)
    return run


def test_a_run_passes_as_its_folder_does(store: Store) -> None:
    run = get_run(store, make_shard_summary(make_verdict(VISION)))
    assert (run.passes, run.comparisons, run.failing) == (False, 1, 1)
    assert get_run(store, make_shard_summary(make_verdict())).passes
    assert not get_run(store, make_shard_summary(make_verdict()), "a link").passes
    assert not get_run(store, make_shard_summary(make_verdict(), problems=("incomplete",))).passes


@pytest.mark.parametrize("character", ["\0", "\u202e", "'; DROP TABLE run; --", "\U0001f600"])
def test_any_text_can_be_stored(store: Store, character: str) -> None:
    verdict = make_verdict(
        reason=character, known=character, reproduce=character, causes={Stage.VISION: character}
    )
    import_run(store, make_run(make_shard_summary(verdict), name=character))
    loaded = load(store)
    assert loaded.comparisons[0].get_cause(Stage.VISION) == character
    assert loaded.comparisons[0].reason == character.replace("\0", "\\0")
    assert len(list_runs(store, name=character.replace("\0", "\\0"))) == 1
