"""Carries replays out: each release asked in its environment, and held against what the replay states."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from vlm_parity.backends.registry import REFERENCE_BACKEND
from vlm_parity.capture.stored_trace import StoredTrace
from vlm_parity.releases.answer import ReleaseAnswer
from vlm_parity.releases.checkpoint import build_legacy_folder
from vlm_parity.releases.environment import LogLine
from vlm_parity.releases.query import ReleaseQuery, run_release
from vlm_parity.replay.catalogue import REFERENCE_SIDE, Replay
from vlm_parity.replay.record import ReleaseRow, ReplayRow, StatedValue
from vlm_parity.replay.values import Number, format_values, read_values, round_as_stated
from vlm_parity.schema.case import Case
from vlm_parity.schema.case_file import write_case
from vlm_parity.schema.engine_setup import engine_label
from vlm_parity.session.saved_traces import load_saved_traces
from vlm_parity.util.errors import (
    CaseError,
    EnvironmentBuildError,
    MissingTraceError,
    MissingValueError,
    RecordError,
    UnknownModelError,
)


def run_replay(
    replay: Replay, run: Path, cases: Path, say: LogLine, done: Callable[[ReplayRow], None]
) -> ReplayRow:
    """Asks every release of a replay.

    Args:
        replay: the bug.
        run: the run folder; each release becomes a part of it.
        cases: the folder of the test modules; replays name cases of its ``conversations``.
        say: called with a line before anything that takes long.
        done: called with the row as far as it has come, after each release.
    """
    row = ReplayRow(replay=replay)
    try:
        case = replay.resolved(cases / "conversations")
        question = _build_query(replay, case, run, cases, say)
    except (CaseError, EnvironmentBuildError, UnknownModelError, ValueError) as problem:
        row = row.model_copy(update={"problem": str(problem)})
        done(row)
        return row
    if replay.reference is not None:
        answer = _run_reference(question, replay, run, say)
        row = row.model_copy(update={"reference": answer})
        question = replace(question, reference_traces=run / "shards" / answer.shard)
    for release in replay.releases:
        shard = f"{replay.name}-{release}"
        (answer,) = run_release(question, release, run, shard, say)
        row = row.model_copy(update={"rows": (*row.rows, _build_row(replay, case, answer, run))})
        done(row)
    return row


def _build_query(replay: Replay, case: Case, run: Path, cases: Path, say: LogLine) -> ReleaseQuery:
    folder = cases / "conversations"
    if isinstance(replay.case, Case):
        folder = run / "asked" / replay.name
        write_case(folder / f"{case.name}.yaml", case)
    return ReleaseQuery(
        backend=replay.backend,
        model=replay.model,
        folder=build_legacy_folder(replay.model, say),
        cases=(replay.case_name,),
        conversations=folder,
        tests=cases,
        mode=replay.mode,
        entry_point=replay.entry_point,
        chosen=replay.pins,
        reproduce=f"parity replay {replay.name}",
    )


def _run_reference(question: ReleaseQuery, replay: Replay, run: Path, say: LogLine) -> ReleaseAnswer:
    assert replay.reference is not None
    alone = replace(question, backend=REFERENCE_BACKEND, chosen={})
    (answer,) = run_release(alone, replay.reference, run, f"{replay.name}-{REFERENCE_SIDE}", say)
    return answer


def _build_row(replay: Replay, case: Case, answer: ReleaseAnswer, run: Path) -> ReleaseRow:
    return ReleaseRow(
        role=replay.releases[answer.release],
        answer=answer,
        expected_stage=replay.stage,
        expected_cause=replay.cause,
        values=tuple(_compare_values(replay, case, answer, run)) if answer.has_verdict else (),
    )


def _compare_values(replay: Replay, case: Case, answer: ReleaseAnswer, run: Path) -> Iterator[StatedValue]:
    """What the replay states of this release and of the reference beside it."""
    side_of = engine_label(replay.backend, replay.mode, replay.entry_point)
    try:
        reference, tested = load_saved_traces(run / "shards" / answer.shard, answer.model, side_of, case)
    except (MissingTraceError, RecordError) as problem:
        yield StatedValue(
            place="traces", side=answer.release, stated="", found=str(problem), is_correct=False
        )
        return
    for place, stated in replay.values.items():
        for side, trace in ((REFERENCE_SIDE, reference), (answer.release, tested)):
            if side in stated:
                yield _compare_value(place, side, stated[side], trace)


def _compare_value(
    place: str, side: str, stated: Number | tuple[Number, ...], trace: StoredTrace
) -> StatedValue:
    try:
        found = read_values(place, trace.trace, trace.folder)
    except MissingValueError as problem:
        return StatedValue(place=place, side=side, stated=str(stated), found=str(problem), is_correct=False)
    wanted = round_as_stated(stated, len(found))
    return StatedValue(
        place=place,
        side=side,
        stated=format_values(wanted),
        found=format_values(found),
        is_correct=wanted == found,
    )
