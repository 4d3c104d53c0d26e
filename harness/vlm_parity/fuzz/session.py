"""A fuzzing session: one model in one engine after the other, with findings in a shard of the run."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from vlm_parity.backends.registry import load_backend_class
from vlm_parity.capture.environment import describe_environment
from vlm_parity.capture.protocol import InjectedFault
from vlm_parity.fuzz.campaign import Campaign, FuzzProfile, ShrunkFailure
from vlm_parity.fuzz.frontends import FrontendLoadError, build_settings, open_frontends
from vlm_parity.fuzz.oracle import Oracle
from vlm_parity.fuzz.search_space import build_search_space
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.resolve import get_model_name, resolve_model
from vlm_parity.schema.case import Case
from vlm_parity.schema.case_file import write_case
from vlm_parity.schema.fuzz_findings import FUZZ_FILE, FindingKey, FuzzFinding, FuzzRecord, FuzzSummary
from vlm_parity.schema.record import compute_digest, write_record
from vlm_parity.schema.run_layout import REFERENCE_FOLDER
from vlm_parity.schema.trace import Outcome
from vlm_parity.schema.verdict import Verdict, VerdictKind
from vlm_parity.session.plan import Plan
from vlm_parity.session.progress import ProgressReporter
from vlm_parity.session.shard_writer import ShardWriter
from vlm_parity.util.error_origin import describe_harness_error
from vlm_parity.util.errors import ParityError
from vlm_parity.verdicts.known_issues import (
    FUZZED_PREFIX,
    KnownIssue,
    apply_known_issues,
    describe_issues,
)

_MEMORY = Path("/dev/shm")  # noqa: S108 - a TemporaryDirectory below it
"""A file system in memory, on Linux: traces of an example exist for milliseconds."""
_MAX_MESSAGE_LENGTH = 600
CASES_FOLDER = "cases"
"""The folder of the shrunk cases in a shard."""


@dataclass(frozen=True)
class FuzzResult:
    """The result of fuzzing one model in one engine."""

    fuzzed: FuzzSummary
    findings: tuple[FuzzFinding, ...]

    @property
    def passes(self) -> bool:
        """True if fuzzing is complete and has no new findings."""
        return FuzzRecord(fuzzed=(self.fuzzed,), findings=self.findings).passes


class FuzzSession:
    """Fuzzes models in engines and writes findings as they come.

    Args:
        plan: the settings and the folder of the shard.
        profile: length and seed of each campaign.
        known_issues: applied to the verdicts.
        reporter: of progress.
    """

    def __init__(
        self, plan: Plan, profile: FuzzProfile, known_issues: Sequence[KnownIssue], reporter: ProgressReporter
    ) -> None:
        self.shard = ShardWriter(plan.folder, plan.command, {})
        self.shard.set_issue_descriptions(describe_issues(known_issues))
        self._plan, self._profile, self._known_issues, self._reporter = plan, profile, known_issues, reporter
        self._done: list[FuzzResult] = []

    def fuzz(self, model: str, backend: str, fault: InjectedFault | None) -> FuzzResult:
        """Fuzz one model in one engine.

        ``fuzz.json`` lists it as unfinished from here on, and with the reason if it ends early.

        Args:
            model: as on the command line.
            backend: the engine under test.
            fault: the change under which the engine runs, if any.

        Raises:
            UnknownModelError, CheckpointBuildError: the model cannot be resolved.
            FrontendLoadError: a front end did not load.
        """
        result = FuzzResult(
            FuzzSummary(
                model=get_model_name(model),
                backend=backend,
                fault=fault.name if fault else "",
                profile=self._profile.name,
                seed=self._profile.seed,
            ),
            (),
        )
        self.shard.add_fuzz_target()
        self.write(result)
        target: _Target | None = None
        try:
            checkpoint = resolve_model(
                model, weights=False, model_list=self._plan.model_list, report=self._reporter.report
            )
            self.shard.add_model(checkpoint, weights=False)
            target = _Target(self, checkpoint, model, backend, fault)
            result = target.run()
        except BaseException as error:
            result = _end_early(target.result if target and target.result else result, error)
            raise
        finally:
            self._done.append(result)
            self.write()
        return result

    def write(self, running: FuzzResult | None = None) -> None:
        """Write ``fuzz.json`` with all results so far.

        Args:
            running: the preliminary result of the current campaign.
        """
        results = [*self._done, *([running] if running else [])]
        record = FuzzRecord(
            fuzzed=tuple(result.fuzzed for result in results),
            findings=tuple(finding for result in results for finding in result.findings),
        )
        write_record(self.shard.folder / FUZZ_FILE, record)

    def finish(self, failed_tests: Iterable[tuple[str, str, str]] = ()) -> None:
        """Mark the shard as complete.

        Args:
            failed_tests: the id, the model and the backend of each failed test. Those whose result passes are
                stored, because nothing else in the shard shows them.
        """
        failing = {(result.fuzzed.model, result.fuzzed.backend) for result in self._done if not result.passes}
        self.shard.set_failed_tests(
            test for test, model, backend in failed_tests if (get_model_name(model), backend) not in failing
        )
        self.shard.finish()


class _Target:
    """One model in one engine while it is fuzzed."""

    def __init__(
        self,
        session: FuzzSession,
        checkpoint: Checkpoint,
        model: str,
        backend: str,
        fault: InjectedFault | None,
    ) -> None:
        self.result: FuzzResult | None = None
        """The result so far; None before the first round."""
        self._session, self._checkpoint = session, checkpoint
        self._model, self._backend, self._fault = model, backend, fault
        self._findings: list[tuple[FindingKey, FuzzFinding]] = []
        plan, name = session._plan, checkpoint.name
        profile = session._profile
        if profile.database is not None:
            database = profile.database / "-".join(
                filter(None, [name, backend, slugify(fault.name if fault else "")])
            )
            profile = replace(profile, database=database)
        self._profile = profile
        self._settings = build_settings(checkpoint, plan.build_settings(checkpoint))
        self._campaign: Campaign
        self._oracle: Oracle

    def run(self) -> FuzzResult:
        """Load both sides and run the campaign."""
        session, name = self._session, self._checkpoint.name
        logs = (
            session.shard.get_log_path(name, f"{self._backend}-{REFERENCE_FOLDER}"),
            session.shard.get_log_path(name, self._backend),
        )
        timeouts = session._plan.load_timeout, session._plan.case_timeout
        self._report("loading")
        with (
            TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as scratch,
            open_frontends(
                self._backend, self._checkpoint, self._settings, logs, Path(scratch), timeouts, self._fault
            ) as self._frontends,
        ):
            self._report("loaded")
            config = json.loads((self._checkpoint.path / "config.json").read_text(encoding="utf-8"))
            self._oracle = Oracle(self._frontends, self._checkpoint, config)
            self._campaign = Campaign(self._oracle, build_search_space(self._checkpoint), self._profile)
            self._run_campaign()
        assert self.result is not None
        return self.result

    def _run_campaign(self) -> None:
        problem = ""
        try:
            self._campaign.run(self._write_finding, self._on_round)
        except FrontendLoadError as error:
            problem = f"a child crashed and its successor did not load: {error}"
        self.result = self._build_result(not problem, problem)
        self._session.shard.add_examples(self._campaign.stats.examples)
        self._report(_format_result(self.result))

    def _on_round(self) -> None:
        self._report(_format_result(self._write_progress()))

    def _write_progress(self) -> FuzzResult:
        self.result = self._build_result(False)
        self._session.write(self.result)
        return self.result

    def _build_result(self, finished: bool, problem: str = "") -> FuzzResult:
        stats, sides = self._campaign.stats, (self._frontends.reference, self._frontends.tested)
        packages: dict[str, str] = {}
        for side in sides:
            packages |= describe_environment(load_backend_class(side.backend), side.settings).packages
        fuzzed = FuzzSummary(
            model=self._checkpoint.name,
            backend=self._backend,
            fault=self._fault.name if self._fault else "",
            profile=self._profile.name,
            seed=self._profile.seed,
            rounds=stats.rounds,
            examples=stats.examples,
            shrinking=stats.shrinking,
            repeated=stats.repeated,
            outcomes=dict(stats.outcomes),
            seconds=stats.seconds,
            load_seconds=sum(side.load_seconds for side in sides),
            loads=sum(side.loads for side in sides),
            packages=packages,
            problem=problem,
            finished=finished,
        )
        counts = self._campaign.duplicate_counts
        findings = (
            finding.model_copy(update={"duplicates": counts.get(key, 0)}) for key, finding in self._findings
        )
        return FuzzResult(fuzzed, tuple(findings))

    def _write_finding(self, failure: ShrunkFailure) -> None:
        """Run the shrunk case once more under its name, and write its verdict and its file."""
        case = self._build_named_case(failure)
        file = self._session.shard.folder / CASES_FOLDER / f"{case.name}.yaml"
        reproduce = self._build_command(file)
        verdict, key = self._oracle.examine(case, failure.repeated, reproduce)
        verdict = self._apply_known_issues(verdict, failure.key, key)
        write_case(file, case, _build_comment(verdict, failure, reproduce))
        self._session.shard.add_case(case)
        self._session.shard.write_verdict(verdict)
        message = verdict.reason or _top_explanation(verdict)
        finding = FuzzFinding(
            model=self._checkpoint.name,
            backend=self._backend,
            failed_property=failure.key.failed_property,
            cause=failure.key.cause,
            case=case.name,
            shard=self._session.shard.folder.name,
            kind=verdict.kind,
            message=message[:_MAX_MESSAGE_LENGTH],
            known=verdict.known,
            seed=failure.seed,
            examples=failure.examples,
            not_shrunk_reason=failure.not_shrunk_reason,
            reproduce=reproduce,
        )
        self._findings.append((failure.key, finding))
        self._write_progress()
        self._report(
            f"{verdict.kind} {failure.key.failed_property}: {failure.key.cause or message}: {case.name}"
        )

    def _apply_known_issues(
        self, verdict: Verdict, expected: FindingKey, actual: FindingKey | None
    ) -> Verdict:
        if actual != expected:
            shown = f"{actual.failed_property}: {actual.cause}" if actual else "nothing"
            reason = (
                f"not reproducible: first {expected.failed_property}: {expected.cause}, "
                f"in another run {shown}"
            )
            return verdict.model_copy(update={"kind": VerdictKind.ERROR, "reason": reason})
        if verdict.kind.passes or self._fault is not None:
            return verdict
        return apply_known_issues(verdict, self._session._known_issues, datetime.now(UTC).date())

    def _build_named_case(self, failure: ShrunkFailure) -> Case:
        backend, model = self._backend, self._checkpoint.name
        digest = compute_digest(
            [model, backend, self._fault and self._fault.name, failure.case.digest(), *failure.key]
        )[:8]
        fault = f" with the fault {self._fault.name!r}" if self._fault else ""
        summary = f"Catches {failure.key.failed_property} in {backend} on {model}{fault}"
        summary += f": {failure.key.cause}." if failure.key.cause else "."
        name = f"{FUZZED_PREFIX}{slugify(failure.key.failed_property)}_{digest}"
        return failure.case.model_copy(update={"name": name, "summary": summary})

    def _build_command(self, file: Path) -> str:
        if self._fault is not None:
            command = ["parity", "run", "cases/test_fuzz.py", "--fuzz-fault", self._fault.name]
            return shlex.join([*command, "--backend", self._backend, "--model", self._model])
        selection = ["--backend", self._backend, "--model", self._model, "--case", file.stem]
        return f"parity run --depth tokens --cases {shlex.quote(str(file.parent))} " + shlex.join(selection)

    def _report(self, text: str) -> None:
        self._session._reporter.report(f"[fuzz {self._checkpoint.name} {self._backend}] {text}")


def _end_early(result: FuzzResult, error: BaseException) -> FuzzResult:
    """Return a result with the reason for which fuzzing ended early."""
    if isinstance(error, FrontendLoadError) and error.outcome is Outcome.UNSUPPORTED:
        update = {"unsupported": str(error)}
    elif isinstance(error, FrontendLoadError):
        update = {"problem": f"{error.outcome}: {error}"}
    elif isinstance(error, ParityError):
        update = {"problem": str(error)}
    else:
        update = {"problem": describe_harness_error(error)}
    return replace(result, fuzzed=result.fuzzed.model_copy(update=update))


def slugify(text: str) -> str:
    """Return a text in the form of a case name."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def _build_comment(verdict: Verdict, failure: ShrunkFailure, reproduce: str) -> list[str]:
    name, cause = failure.key
    lines = [f"Found by the fuzzer and shrunk: {name}: {cause or 'not explained'}."]
    if failure.not_shrunk_reason:
        lines.append(f"It may not be minimal: {failure.not_shrunk_reason}.")
    if failure.repeated:
        lines.append(f"It shows if the engine runs the case again: {name}.")
    reason = (verdict.reason or _top_explanation(verdict)).splitlines()[:3]
    return [*lines, *reason, reproduce]


def _top_explanation(verdict: Verdict) -> str:
    return verdict.diagnoses[0].explanation if verdict.diagnoses else ""


def _format_result(result: FuzzResult) -> str:
    fuzzed = result.fuzzed
    new = sum(not finding.passes for finding in result.findings)
    known = sum(finding.kind is VerdictKind.KNOWN for finding in result.findings)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(fuzzed.outcomes.items()))
    return (
        f"{fuzzed.examples} examples and {fuzzed.shrinking} while shrinking, {fuzzed.rate:.0f} per second: "
        f"{new} new findings, {known} known; {outcomes}"
    )
