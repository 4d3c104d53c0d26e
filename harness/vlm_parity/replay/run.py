"""The run of a replay: every release in its environment, compared with the expected verdict and values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from vlm_parity.backends.registry import REFERENCE_BACKEND
from vlm_parity.capture.stored_trace import StoredTrace
from vlm_parity.releases.answer import ReleaseAnswer
from vlm_parity.releases.checkpoint import build_legacy_folder
from vlm_parity.releases.environment import LogLine
from vlm_parity.releases.query import ReleaseQuery, run_release
from vlm_parity.replay.catalog import REFERENCE_SIDE, Replay
from vlm_parity.replay.record import ExpectedValue, ReleaseRow, ReplayRow
from vlm_parity.replay.values import Number, expand_expected, format_values, read_values
from vlm_parity.schema.case import Case
from vlm_parity.schema.case_file import write_case
from vlm_parity.schema.engine_setup import engine_label
from vlm_parity.schema.suite_layout import CONVERSATIONS
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
    replay: Replay,
    run: Path,
    cases: Path,
    log: LogLine,
    on_progress: Callable[[ReplayRow], None],
    media_roots: Sequence[Path] = (),
) -> ReplayRow:
    """Run every release of a replay.

    Args:
        replay: the bug.
        run: the run folder; each release becomes a shard of it.
        cases: the folder of the test modules; replays name cases in its ``conversations``.
        log: called with a line before anything that takes long.
        on_progress: called with the row so far, after each release.
        media_roots: see ``Case.media_roots``.
    """
    row = ReplayRow(replay=replay)
    try:
        case = replay.resolve_case(cases / CONVERSATIONS, media_roots)
        query = _build_query(replay, case, run, cases, log)
    except (CaseError, EnvironmentBuildError, UnknownModelError, ValueError) as error:
        row = row.model_copy(update={"problem": str(error)})
        on_progress(row)
        return row
    if replay.reference is not None:
        answer = _run_reference(query, replay, replay.reference, run, log)
        row = row.model_copy(update={"reference": answer})
        query = replace(query, reference_traces=run / "shards" / answer.shard)
    for release in replay.releases:
        shard = f"{replay.name}-{release}"
        (answer,) = run_release(query, release, run, shard, log)
        row = row.model_copy(update={"rows": (*row.rows, _build_row(replay, case, answer, run))})
        on_progress(row)
    return row


def _build_query(replay: Replay, case: Case, run: Path, cases: Path, log: LogLine) -> ReleaseQuery:
    folder = cases / CONVERSATIONS
    if isinstance(replay.case, Case):
        folder = run / CONVERSATIONS / replay.name
        write_case(folder / f"{case.name}.yaml", case)
    return ReleaseQuery(
        backend=replay.backend,
        model=replay.model,
        folder=build_legacy_folder(replay.model, log),
        cases=(replay.case_name,),
        conversations=folder,
        media_roots=case.media_roots,
        tests=cases,
        mode=replay.mode,
        entry_point=replay.entry_point,
        versions=replay.pins,
        reproduce=f"parity replay {replay.name}",
    )


def _run_reference(
    query: ReleaseQuery, replay: Replay, release: str, run: Path, log: LogLine
) -> ReleaseAnswer:
    reference_query = replace(query, backend=REFERENCE_BACKEND, versions={})
    (answer,) = run_release(reference_query, release, run, f"{replay.name}-{REFERENCE_SIDE}", log)
    return answer


def _build_row(replay: Replay, case: Case, answer: ReleaseAnswer, run: Path) -> ReleaseRow:
    return ReleaseRow(
        role=replay.releases[answer.release],
        answer=answer,
        expected_stage=replay.stage,
        expected_cause=replay.cause,
        values=tuple(_compare_values(replay, case, answer, run)) if answer.has_verdict else (),
    )


def _compare_values(replay: Replay, case: Case, answer: ReleaseAnswer, run: Path) -> Iterator[ExpectedValue]:
    """Compare the values that the replay expects of this release and of its reference."""
    label = engine_label(replay.backend, replay.mode, replay.entry_point)
    try:
        reference, tested = load_saved_traces(run / "shards" / answer.shard, answer.model, label, case)
    except (MissingTraceError, RecordError) as error:
        yield ExpectedValue(
            location="traces", backend=answer.release, expected="", actual=str(error), is_correct=False
        )
        return
    for location, expected in replay.values.items():
        for backend, trace in ((REFERENCE_SIDE, reference), (answer.release, tested)):
            if backend in expected:
                yield _compare_value(location, backend, expected[backend], trace)


def _compare_value(
    location: str, backend: str, expected: Number | tuple[Number, ...], trace: StoredTrace
) -> ExpectedValue:
    try:
        actual = read_values(location, trace.trace, trace.folder)
    except MissingValueError as error:
        return ExpectedValue(
            location=location, backend=backend, expected=str(expected), actual=str(error), is_correct=False
        )
    expanded = expand_expected(expected, len(actual))
    return ExpectedValue(
        location=location,
        backend=backend,
        expected=format_values(expanded),
        actual=format_values(actual),
        is_correct=expanded == actual,
    )
