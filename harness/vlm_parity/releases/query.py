"""Asks one release: pytest in its environment, on one model and some cases, as a part of the run."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shutil import move, rmtree

from vlm_parity.models.resolve import get_model_name
from vlm_parity.releases.answer import ReleaseAnswer, build_answer
from vlm_parity.releases.environment import (
    BuiltEnvironment,
    LogLine,
    build_child_environment,
    build_environment,
    get_python,
)
from vlm_parity.releases.pins import Pins, build_pins
from vlm_parity.schema.engine_setup import DEFAULT_MODE, EntryPoint, engine_label
from vlm_parity.schema.record import read_record
from vlm_parity.schema.trace import Depth
from vlm_parity.schema.verdict import Verdict
from vlm_parity.util.checkout import REPOSITORY_ROOT
from vlm_parity.util.errors import EnvironmentBuildError, RecordError, UnknownReleaseError
from vlm_parity.util.exit_codes import SESSION_FINISHED

_PYTEST = ("-p", "no:cacheprovider", "-q")
_TAIL_LINES = 20


@dataclass(frozen=True)
class ReleaseQuery:
    """What is asked of every release alike."""

    backend: str
    model: str
    """A folder, or a family: then its files in the form that older libraries read."""
    folder: Path
    """Of the model."""
    cases: tuple[str, ...]
    """Names, of ``conversations``."""
    conversations: Path
    tests: Path = REPOSITORY_ROOT / "cases"
    """The folder of the test modules."""
    mode: str = DEFAULT_MODE
    entry_point: EntryPoint = EntryPoint.CHAT
    depth: Depth = Depth.TOKENS
    chosen: Mapping[str, str] = field(default_factory=dict)
    """Versions by distribution, over those of ``releases.toml``."""
    engine_args: tuple[str, ...] = ()
    """``NAME=VALUE``, told to the engine's constructor."""
    reproduce: str | None = None
    """The command that asks it again."""
    reference_traces: Path | None = None
    """A part of a run, whose reference's traces are taken; by default each environment's own
    transformers is the reference."""


def run_release(
    question: ReleaseQuery, release: str, run: Path, shard: str, say: LogLine
) -> list[ReleaseAnswer]:
    """The answers of one release, one a case, in order. That it cannot be asked is an answer, too.

    Args:
        question: what is asked.
        release: which release.
        run: the run folder, in which the part is entry.
        part: the part's name; an existing one is replaced.
        say: called with a line before anything that takes long.
    """
    blank = ReleaseAnswer(
        backend=question.backend,
        release=release,
        model=get_model_name(str(question.folder)),
        case="",
        shard=shard,
    )
    try:
        pins = build_pins(question.backend, release, question.chosen)
        built, is_new = build_environment(pins, say)
    except (UnknownReleaseError, EnvironmentBuildError) as problem:
        return [blank.model_copy(update={"case": case, "problem": str(problem)}) for case in question.cases]
    blank = blank.model_copy(update=_environment_fields(pins, built, is_new))
    say(f"asking {question.backend} {release}")
    start = time.monotonic()
    incomplete_reason = _run_pytest(question, get_python(pins), run, shard)
    blank = blank.model_copy(update={"seconds": time.monotonic() - start})
    return [
        _read_answer(blank, question, case, run / "shards" / shard, incomplete_reason)
        for case in question.cases
    ]


def _environment_fields(pins: Pins, built: BuiltEnvironment, is_new: bool) -> dict[str, object]:
    return {
        "environment": pins.folder,
        "requirements": (*pins.shared, *pins.bare, *pins.full),
        "built_seconds": built.seconds if is_new else 0.0,
        "environment_bytes": built.bytes,
    }


def _run_pytest(question: ReleaseQuery, python: Path, run: Path, shard: str) -> str:
    """Runs the session in a run folder of its own, so that several may run at once, and files its part.

    Returns:
        Why it did not come to its end; empty where it did.
    """
    work, log = run / "work" / shard, run / "logs" / f"{shard}.log"
    rmtree(work, ignore_errors=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [str(python), "-m", "vlm_parity", "run", str(question.tests), *_build_options(question)]
    command += ["--run", str(work), "--shard", shard, "--", *_PYTEST]
    with log.open("w", encoding="utf-8") as output:
        done = subprocess.run(
            command,
            check=False,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY_ROOT,
            env=build_child_environment(),
        )
    entry = run / "shards" / shard
    rmtree(entry, ignore_errors=True)
    if (work / "shards" / shard).is_dir():
        entry.parent.mkdir(parents=True, exist_ok=True)
        move(work / "shards" / shard, entry)
    rmtree(work, ignore_errors=True)
    if done.returncode in SESSION_FINISHED:
        return ""
    last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
    return f"pytest ended with exit status {done.returncode}; its last lines:\n" + "\n".join(last)


def _build_options(question: ReleaseQuery) -> Iterable[str]:
    yield from ("--backend", question.backend, "--model", str(question.folder))
    yield from ("--cases", str(question.conversations), "--depth", question.depth)
    yield from (
        "--mode",
        question.mode,
        "--entry-point",
        question.entry_point,
        "--no-known-issues",
        "--keep-logits",
    )
    if question.reference_traces is not None:
        yield from ("--reference-traces", str(question.reference_traces))
    for text in question.engine_args:
        yield from ("--engine-arg", text)
    if question.reproduce is not None:
        yield from ("--reproduce-command", question.reproduce)
    for case in question.cases:
        yield from ("--case", case)


def _read_answer(
    blank: ReleaseAnswer, question: ReleaseQuery, case: str, shard: Path, incomplete_reason: str
) -> ReleaseAnswer:
    path = (
        shard
        / "verdicts"
        / blank.model
        / engine_label(question.backend, question.mode, question.entry_point)
        / f"{case}.json"
    )
    answer = blank.model_copy(update={"case": case})
    try:
        return build_answer(answer, read_record(path, Verdict))
    except RecordError as problem:
        return answer.model_copy(update={"problem": incomplete_reason or str(problem)})
