"""The run of one release: pytest in its environment, on one model and some cases, as a shard of the run."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vlm_parity.models.resolve import get_model_name
from vlm_parity.releases.answer import ReleaseAnswer, build_answer
from vlm_parity.releases.checkpoint import check_legacy_folder
from vlm_parity.releases.environment import (
    BuiltEnvironment,
    LogLine,
    build_child_environment,
    build_environment,
    get_python,
)
from vlm_parity.releases.pins import Pins, build_pins
from vlm_parity.report.contradictions import find_contradictions
from vlm_parity.report.shard_contradictions import find_verdict_contradictions
from vlm_parity.schema.engine_setup import DEFAULT_MODE, Depth, EntryPoint, engine_label
from vlm_parity.schema.record import read_record
from vlm_parity.schema.run import Shard
from vlm_parity.schema.run_layout import SHARD_RECORD
from vlm_parity.schema.shard_folder import ShardHold
from vlm_parity.schema.verdict import Verdict
from vlm_parity.util.checkout import REPOSITORY_ROOT
from vlm_parity.util.child_process import INTERRUPT_GRACE_S, run_child
from vlm_parity.util.errors import DamagedFolderError, EnvironmentBuildError, RecordError, UnknownReleaseError
from vlm_parity.util.exit_codes import SESSION_FINISHED

_PYTEST = ("-p", "no:cacheprovider", "-q")
_TAIL_LINES = 20


@dataclass(frozen=True)
class ReleaseQuery:
    """The model, the cases and the options that are the same for every release."""

    backend: str
    model: str
    """As the user wrote it: a family or a folder."""
    folder: Path
    """The folder of the model."""
    cases: tuple[str, ...]
    """Names of cases in ``conversations``."""
    conversations: Path
    tests: Path = REPOSITORY_ROOT / "cases"
    """The folder of the test modules."""
    mode: str = DEFAULT_MODE
    entry_point: EntryPoint = EntryPoint.CHAT
    depth: Depth = Depth.TOKENS
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions by distribution that replace those of ``releases.toml``."""
    engine_args: tuple[str, ...] = ()
    """Arguments of the engine's constructor, as ``NAME=VALUE``."""
    reproduce: str | None = None
    """The command that reproduces a verdict."""
    reference_traces: Path | None = None
    """A shard with the traces of the reference; by default the reference is the transformers of each
    environment."""
    media_roots: tuple[Path, ...] = ()
    """Further folders of the media of the cases, as absolute paths."""


def run_release(
    query: ReleaseQuery, release: str, run: Path, shard: str, log: LogLine
) -> list[ReleaseAnswer]:
    """Run one release and return an answer for each case, in order, also if it cannot be run.

    Args:
        query: the model, the cases and the options.
        release: the release of the backend.
        run: the run folder that gets the shard.
        shard: the name of the shard; an existing one is replaced.
        log: called with a line before anything that takes long.
    """
    template = ReleaseAnswer(
        backend=query.backend,
        release=release,
        model=get_model_name(str(query.folder)),
        case="",
        shard=shard,
    )
    try:
        pins = build_pins(query.backend, release, query.versions)
        built, is_new = build_environment(pins, log)
        check_legacy_folder(query.folder)
    except (UnknownReleaseError, EnvironmentBuildError, DamagedFolderError) as error:
        return [template.model_copy(update={"case": case, "problem": str(error)}) for case in query.cases]
    template = template.model_copy(update=_environment_fields(pins, built, is_new))
    log(f"running {query.backend} {release}")
    start = time.monotonic()
    incomplete_reason = _run_pytest(query, get_python(pins), run, shard)
    template = template.model_copy(update={"seconds": time.monotonic() - start})
    return [
        _read_answer(template, query, case, run / "shards" / shard, incomplete_reason) for case in query.cases
    ]


def _environment_fields(pins: Pins, built: BuiltEnvironment, is_new: bool) -> dict[str, object]:
    return {
        "environment": pins.folder,
        "requirements": (*pins.shared, *pins.bare, *pins.full),
        "built_seconds": built.seconds if is_new else 0.0,
        "environment_bytes": built.bytes,
    }


def _run_pytest(query: ReleaseQuery, python: Path, run: Path, shard: str) -> str:
    """Run the session in a run folder of its own, so that several can run at once, then move its shard.

    Returns:
        The reason why the session did not end normally; empty if it did.

    Raises:
        UsageError: another session uses the shard, or its folder is no shard.
    """
    with ShardHold(run / "shards" / shard) as target, ShardHold(run / "work" / shard) as work:
        work.clear()
        incomplete_reason = _run_child(
            query, python, work.folder / "run", run / "logs" / f"{shard}.log", shard
        )
        target.clear()
        written = work.folder / "run" / "shards" / shard
        for entry in written.iterdir() if written.is_dir() else ():
            entry.replace(target.folder / entry.name)
        work.clear()
    return incomplete_reason


def _run_child(query: ReleaseQuery, python: Path, run: Path, log_file: Path, shard: str) -> str:
    log_file.parent.mkdir(parents=True, exist_ok=True)
    command = [str(python), "-m", "vlm_parity", "run", str(query.tests), *_build_options(query)]
    command += ["--run", str(run), "--shard", shard, "--", *_PYTEST]
    with log_file.open("w", encoding="utf-8") as output:
        done = run_child(
            command,
            grace=INTERRUPT_GRACE_S,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY_ROOT,
            env=build_child_environment(),
        )
    if done.returncode in SESSION_FINISHED:
        return ""
    tail = log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
    return f"pytest ended with exit code {done.returncode}; its last lines:\n" + "\n".join(tail)


def _build_options(query: ReleaseQuery) -> Iterable[str]:
    yield from ("--backend", query.backend, "--model", str(query.folder))
    yield from ("--cases", str(query.conversations), "--depth", query.depth)
    yield from (
        "--mode",
        query.mode,
        "--entry-point",
        query.entry_point,
        "--no-known-issues",
        "--keep-logits",
    )
    if query.reference_traces is not None:
        yield from ("--reference-traces", str(query.reference_traces))
    for root in query.media_roots:
        yield from ("--media-root", str(root))
    for text in query.engine_args:
        yield from ("--engine-arg", text)
    if query.reproduce is not None:
        yield from ("--reproduce-command", query.reproduce)
    for case in query.cases:
        yield from ("--case", case)


def _read_answer(
    template: ReleaseAnswer, query: ReleaseQuery, case: str, shard: Path, incomplete_reason: str
) -> ReleaseAnswer:
    path = (
        shard
        / "verdicts"
        / template.model
        / engine_label(query.backend, query.mode, query.entry_point)
        / f"{case}.json"
    )
    answer = template.model_copy(update={"case": case})
    try:
        verdict, record = read_record(path, Verdict), read_record(shard / SHARD_RECORD, Shard)
    except RecordError as error:
        return answer.model_copy(update={"problem": incomplete_reason or str(error)})
    contradictions = [
        *find_contradictions(verdict),
        *find_verdict_contradictions(shard, record, path, verdict),
    ]
    if contradictions:
        return answer.model_copy(update={"problem": f"{path}: {'; '.join(contradictions)}"})
    return build_answer(answer, verdict)
