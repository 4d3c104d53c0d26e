"""Carries replays out: each release asked in its environment, and held against what the replay states."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from harness.backends import REFERENCE
from harness.capture.reference import Reference
from harness.case_file import BadCase, load_case
from harness.earlier import NoTrace, earlier_traces
from harness.models.unknown import UnknownModel
from harness.record import UnreadableRecord
from harness.releases.ask import Question, ask, write_case
from harness.releases.checkpoint import older_folder
from harness.releases.environment import EnvironmentFailed, Say
from harness.releases.record import Answer
from harness.replay.catalogue import REFERENCE_SIDE, Replay
from harness.replay.record import ReleaseRow, ReplayRow, StatedValue
from harness.replay.values import NoValue, Number, as_stated, in_short, values_of
from harness.trace import way


def carry_out(
    replay: Replay, run: Path, conversations: Path, say: Say, done: Callable[[ReplayRow], None]
) -> ReplayRow:
    """Asks every release of a replay.

    Args:
        replay: the bug.
        run: the run folder; each release becomes a part of it.
        conversations: the folder of the cases that replays name.
        say: called with a line before anything that takes long.
        done: called with the row as far as it has come, after each release.
    """
    row = ReplayRow(replay=replay)
    try:
        question = _question(replay, run, conversations, say)
    except (BadCase, EnvironmentFailed, UnknownModel, ValueError) as problem:
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
        row = row.model_copy(update={"rows": (*row.rows, _row(replay, answer, run))})
        done(row)
    return row


def _question(replay: Replay, run: Path, conversations: Path, say: Say) -> Question:
    folder = _asked(run, replay)
    write_case(replay.resolved(conversations), folder)
    return Question(
        backend=replay.backend,
        model=replay.model,
        folder=older_folder(replay.model, say),
        cases=(replay.case_name,),
        conversations=folder,
        variant=replay.variant,
        chosen=replay.pins,
        reproduce=f"parity replay {replay.name}",
    )


def _ask_reference(question: Question, replay: Replay, run: Path, say: Say) -> Answer:
    assert replay.reference is not None
    alone = replace(question, backend=REFERENCE, chosen={})
    (answer,) = ask(alone, replay.reference, run, f"{replay.name}-{REFERENCE_SIDE}", say)
    return answer


def _row(replay: Replay, answer: Answer, run: Path) -> ReleaseRow:
    return ReleaseRow(
        role=replay.releases[answer.release],
        answer=answer,
        expected_stage=replay.stage,
        expected_cause=replay.cause,
        values=tuple(_values(replay, answer, run)) if answer.is_answer else (),
    )


def _values(replay: Replay, answer: Answer, run: Path) -> Iterator[StatedValue]:
    """What the replay states of this release and of the reference beside it."""
    case = load_case(_asked(run, replay) / f"{replay.case_name}.yaml")
    side_of = way(replay.backend, replay.variant)
    try:
        reference, tested = earlier_traces(run / "parts" / answer.part, answer.model, side_of, case)
    except (NoTrace, UnreadableRecord) as problem:
        yield StatedValue(place="traces", side=answer.release, stated="", found=str(problem), is_right=False)
        return
    for place, stated in replay.values.items():
        for side, trace in ((REFERENCE_SIDE, reference), (answer.release, tested)):
            if side in stated:
                yield _value(place, side, stated[side], trace)


def _value(place: str, side: str, stated: Number | tuple[Number, ...], trace: Reference) -> StatedValue:
    try:
        found = values_of(place, trace.trace, trace.folder)
    except NoValue as problem:
        return StatedValue(place=place, side=side, stated=str(stated), found=str(problem), is_right=False)
    wanted = as_stated(stated, len(found))
    return StatedValue(
        place=place, side=side, stated=in_short(wanted), found=in_short(found), is_right=wanted == found
    )


def _asked(run: Path, replay: Replay) -> Path:
    """The folder of the case that is asked."""
    return run / "asked" / replay.name
