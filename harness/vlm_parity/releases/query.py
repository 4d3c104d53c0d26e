"""Asks one release: pytest in its environment, on one model and some cases, as a part of the run."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shutil import move, rmtree

from vlm_parity.models.resolve import model_name
from vlm_parity.releases.answer import Answer, answer_of
from vlm_parity.releases.environment import Built, Say, build_environment, child_environment, python_of
from vlm_parity.releases.pins import Pins, pins_of
from vlm_parity.schema.engine_setup import DEFAULT_MODE, EntryPoint, engine_label
from vlm_parity.schema.record import read_record
from vlm_parity.schema.trace import Depth
from vlm_parity.schema.verdict import Verdict
from vlm_parity.util.checkout import CLONE
from vlm_parity.util.errors import EnvironmentBuildError, RecordError, UnknownReleaseError
from vlm_parity.util.exit_codes import SESSION_FINISHED

_PYTEST = ("-p", "no:cacheprovider", "-q")
_LAST_LINES = 20


@dataclass(frozen=True)
class Question:
    """What is asked of every release alike."""

    backend: str
    model: str
    """A folder, or a family: then its files in the form that older libraries read."""
    folder: Path
    """Of the model."""
    cases: tuple[str, ...]
    """Names, of ``conversations``."""
    conversations: Path
    tests: Path = CLONE / "cases"
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
    references: Path | None = None
    """A part of a run, whose reference's traces are taken; by default each environment's own
    transformers is the reference."""


def ask(question: Question, release: str, run: Path, part: str, say: Say) -> list[Answer]:
    """The answers of one release, one a case, in order. That it cannot be asked is an answer, too.

    Args:
        question: what is asked.
        release: which release.
        run: the run folder, in which the part is filed.
        part: the part's name; an existing one is replaced.
        say: called with a line before anything that takes long.
    """
    blank = Answer(
        backend=question.backend, release=release, model=model_name(str(question.folder)), case="", part=part
    )
    try:
        pins = pins_of(question.backend, release, question.chosen)
        built, is_new = build_environment(pins, say)
    except (UnknownReleaseError, EnvironmentBuildError) as problem:
        return [blank.model_copy(update={"case": case, "problem": str(problem)}) for case in question.cases]
    blank = blank.model_copy(update=_of_environment(pins, built, is_new))
    say(f"asking {question.backend} {release}")
    start = time.monotonic()
    shortfall = _run_pytest(question, python_of(pins), run, part)
    blank = blank.model_copy(update={"seconds": time.monotonic() - start})
    return [_answer(blank, question, case, run / "parts" / part, shortfall) for case in question.cases]


def _of_environment(pins: Pins, built: Built, is_new: bool) -> dict[str, object]:
    return {
        "environment": pins.folder,
        "requirements": (*pins.shared, *pins.bare, *pins.full),
        "built_seconds": built.seconds if is_new else 0.0,
        "environment_bytes": built.bytes,
    }


def _run_pytest(question: Question, python: Path, run: Path, part: str) -> str:
    """Runs the session in a run folder of its own, so that several may run at once, and files its part.

    Returns:
        Why it did not come to its end; empty where it did.
    """
    work, log = run / "work" / part, run / "logs" / f"{part}.log"
    rmtree(work, ignore_errors=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [str(python), "-m", "vlm_parity", "run", str(question.tests), *_options(question)]
    command += ["--run", str(work), "--shard", part, "--", *_PYTEST]
    with log.open("w", encoding="utf-8") as output:
        done = subprocess.run(  # noqa: S603
            command, check=False, stdout=output, stderr=subprocess.STDOUT, cwd=CLONE, env=child_environment()
        )
    filed = run / "parts" / part
    rmtree(filed, ignore_errors=True)
    if (work / "parts" / part).is_dir():
        filed.parent.mkdir(parents=True, exist_ok=True)
        move(work / "parts" / part, filed)
    rmtree(work, ignore_errors=True)
    if done.returncode in SESSION_FINISHED:
        return ""
    last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
    return f"pytest ended with exit status {done.returncode}; its last lines:\n" + "\n".join(last)


def _options(question: Question) -> Iterable[str]:
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
    if question.references is not None:
        yield from ("--reference-traces", str(question.references))
    for text in question.engine_args:
        yield from ("--engine-arg", text)
    if question.reproduce is not None:
        yield from ("--reproduce-command", question.reproduce)
    for case in question.cases:
        yield from ("--case", case)


def _answer(blank: Answer, question: Question, case: str, part: Path, shortfall: str) -> Answer:
    path = (
        part
        / "verdicts"
        / blank.model
        / engine_label(question.backend, question.mode, question.entry_point)
        / f"{case}.json"
    )
    answer = blank.model_copy(update={"case": case})
    try:
        return answer_of(answer, read_record(path, Verdict))
    except RecordError as problem:
        return answer.model_copy(update={"problem": shortfall or str(problem)})
