"""Carries replays out: each release asked in its environment, and held against what the replay states."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from vlm_parity.backends.registry import REFERENCE
from vlm_parity.capture.stored_trace import Reference
from vlm_parity.releases.answer import Answer
from vlm_parity.releases.checkpoint import older_folder
from vlm_parity.releases.environment import Say
from vlm_parity.releases.query import Question, ask
from vlm_parity.replay.catalogue import REFERENCE_SIDE, Replay
from vlm_parity.replay.record import ReleaseRow, ReplayRow, StatedValue
from vlm_parity.replay.values import Number, as_stated, in_short, values_of
from vlm_parity.schema.case import Case
from vlm_parity.schema.case_file import write_case
from vlm_parity.schema.engine_setup import engine_label
from vlm_parity.session.saved_traces import earlier_traces
from vlm_parity.util.errors import (
    CaseError,
    EnvironmentBuildError,
    MissingTraceError,
    MissingValueError,
    RecordError,
    UnknownModelError,
)


def carry_out(
    replay: Replay, run: Path, cases: Path, say: Say, done: Callable[[ReplayRow], None]
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
        question = _question(replay, case, run, cases, say)
    except (CaseError, EnvironmentBuildError, UnknownModelError, ValueError) as problem:
        row = row.model_copy(update={"problem": str(problem)})
        done(row)
        return row
    if replay.reference is not None:
        answer = _ask_reference(question, replay, run, say)
        row = row.model_copy(update={"reference": answer})
        question = replace(question, references=run / "parts" / answer.part)
    for release in replay.releases:
        part = f"{replay.name}-{release}"
        (answer,) = ask(question, release, run, part, say)
        row = row.model_copy(update={"rows": (*row.rows, _row(replay, case, answer, run))})
        done(row)
    return row


def _question(replay: Replay, case: Case, run: Path, cases: Path, say: Say) -> Question:
    folder = cases / "conversations"
    if isinstance(replay.case, Case):
        folder = run / "asked" / replay.name
        write_case(folder / f"{case.name}.yaml", case)
    return Question(
        backend=replay.backend,
        model=replay.model,
        folder=older_folder(replay.model, say),
        cases=(replay.case_name,),
        conversations=folder,
        tests=cases,
        mode=replay.mode,
        entry_point=replay.entry_point,
        chosen=replay.pins,
        reproduce=f"parity replay {replay.name}",
    )


def _ask_reference(question: Question, replay: Replay, run: Path, say: Say) -> Answer:
    assert replay.reference is not None
    alone = replace(question, backend=REFERENCE, chosen={})
    (answer,) = ask(alone, replay.reference, run, f"{replay.name}-{REFERENCE_SIDE}", say)
    return answer


def _row(replay: Replay, case: Case, answer: Answer, run: Path) -> ReleaseRow:
    return ReleaseRow(
        role=replay.releases[answer.release],
        answer=answer,
        expected_stage=replay.stage,
        expected_cause=replay.cause,
        values=tuple(_values(replay, case, answer, run)) if answer.is_answer else (),
    )


def _values(replay: Replay, case: Case, answer: Answer, run: Path) -> Iterator[StatedValue]:
    """What the replay states of this release and of the reference beside it."""
    side_of = engine_label(replay.backend, replay.mode, replay.entry_point)
    try:
        reference, tested = earlier_traces(run / "parts" / answer.part, answer.model, side_of, case)
    except (MissingTraceError, RecordError) as problem:
        yield StatedValue(place="traces", side=answer.release, stated="", found=str(problem), is_right=False)
        return
    for place, stated in replay.values.items():
        for side, trace in ((REFERENCE_SIDE, reference), (answer.release, tested)):
            if side in stated:
                yield _value(place, side, stated[side], trace)


def _value(place: str, side: str, stated: Number | tuple[Number, ...], trace: Reference) -> StatedValue:
    try:
        found = values_of(place, trace.trace, trace.folder)
    except MissingValueError as problem:
        return StatedValue(place=place, side=side, stated=str(stated), found=str(problem), is_right=False)
    wanted = as_stated(stated, len(found))
    return StatedValue(
        place=place, side=side, stated=in_short(wanted), found=in_short(found), is_right=wanted == found
    )
