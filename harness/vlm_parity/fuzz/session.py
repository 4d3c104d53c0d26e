"""A fuzzing session: models in engines, one after the other; what is found lies in a part of the run."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
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
from vlm_parity.fuzz.search_space import search_space_for
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.resolve import resolve_model
from vlm_parity.schema.case import Case
from vlm_parity.schema.case_file import write_case
from vlm_parity.schema.fuzz_findings import FUZZ_FILE, FindingKey, FuzzFinding, FuzzRecord, FuzzSummary
from vlm_parity.schema.record import compute_digest, write_record
from vlm_parity.schema.run_layout import REFERENCE_FOLDER
from vlm_parity.schema.verdict import Verdict, VerdictKind
from vlm_parity.session.plan import Plan
from vlm_parity.session.progress import ProgressReporter
from vlm_parity.session.shard_writer import ShardWriter
from vlm_parity.verdicts.known_issues import FUZZED_PREFIX, KnownIssue, apply_known_issues

_MEMORY = Path("/dev/shm")
"""Where Linux keeps files in memory: traces of an example live for milliseconds."""
_LONGEST_MESSAGE = 600
CASES_FOLDER = "cases"
"""The folder in a part that holds the shrunk cases."""


@dataclass(frozen=True)
class FuzzResult:
    """What came of fuzzing one model in one engine."""

    fuzzed: FuzzSummary
    findings: tuple[FuzzFinding, ...]


class FuzzSession:
    """Fuzzes on demand, and writes what it finds as it goes."""

    def __init__(
        self, plan: Plan, profile: FuzzProfile, known_issues: Sequence[KnownIssue], reporter: ProgressReporter
    ) -> None:
        self.shard = ShardWriter(plan.folder, plan.command, {})
        self._plan, self._profile, self._known_issues, self._reporter = plan, profile, known_issues, reporter
        self._done: list[FuzzResult] = []

    def fuzz(self, model: str, backend: str, fault: InjectedFault | None) -> FuzzResult:
        """Fuzzes one model in one engine.

        Args:
            model: as the user wrote it.
            backend: under test.
            fault: the change to the engine under which it runs, if any.

        Raises:
            UnknownModelError, CheckpointBuildError: there is no such model.
            FrontendLoadError: a front end could not be loaded; nothing was fuzzed.
        """
        checkpoint = resolve_model(model, weights=False, model_list=self._plan.model_list)
        self.shard.add_model(checkpoint)
        target = _Target(self, checkpoint, model, backend, fault)
        try:
            return target.run()
        finally:
            if target.result is not None:
                self._done.append(target.result)
                self.write()

    def write(self, now: FuzzResult | None = None) -> None:
        """Writes ``fuzz.json``, with what there is so far of the one that runs."""
        every = [*self._done, *([now] if now else [])]
        record = FuzzRecord(
            fuzzed=tuple(each.fuzzed for each in every),
            findings=tuple(finding for each in every for finding in each.findings),
        )
        write_record(self.shard.folder / FUZZ_FILE, record)

    def finish(self) -> None:
        """Marks the part as whole."""
        self.shard.finish()


class _Target:
    """One model in one engine, while it is fuzzed."""

    def __init__(
        self,
        session: FuzzSession,
        checkpoint: Checkpoint,
        model: str,
        backend: str,
        fault: InjectedFault | None,
    ) -> None:
        self.result: FuzzResult | None = None
        self._session, self._checkpoint = session, checkpoint
        self._model, self._backend, self._fault = model, backend, fault
        self._findings: list[tuple[FindingKey, FuzzFinding]] = []
        plan, name = session._plan, checkpoint.name
        profile = session._profile
        if profile.database is not None:
            place = profile.database / "-".join(
                filter(None, [name, backend, slugify(fault.name if fault else "")])
            )
            profile = replace(profile, database=place)
        self._profile = profile
        self._settings = build_settings(checkpoint, plan.build_settings(checkpoint))
        self._campaign: Campaign
        self._examiner: Oracle

    def run(self) -> FuzzResult:
        """Loads both sides and hunts."""
        session, name = self._session, self._checkpoint.name
        logs = (
            session.shard.get_log_path(name, f"{self._backend}-{REFERENCE_FOLDER}"),
            session.shard.get_log_path(name, self._backend),
        )
        timeouts = session._plan.load_timeout, session._plan.case_timeout
        self._say("loading")
        with (
            TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as scratch,
            open_frontends(
                self._backend, self._checkpoint, self._settings, logs, Path(scratch), timeouts, self._fault
            ) as self._front,
        ):
            self._say("loaded")
            config = json.loads((self._checkpoint.path / "config.json").read_text(encoding="utf-8"))
            self._examiner = Oracle(self._front, self._checkpoint, config)
            self._campaign = Campaign(self._examiner, search_space_for(self._checkpoint), self._profile)
            self._run_campaign()
        assert self.result is not None
        return self.result

    def _run_campaign(self) -> None:
        problem = ""
        try:
            self._campaign.run(self._file, self._on_round)
        except FrontendLoadError as died:
            problem = f"a child died, and another did not load: {died}"
        finished = not problem
        self.result = self._build_result(finished, problem)
        self._session.shard.add_examples(self._campaign.tally.examples)
        self._say(_format_result(self.result))

    def _on_round(self) -> None:
        self._session.write(self._build_result(False))
        self._say(_format_result(self._build_result(False)))

    def _build_result(self, finished: bool, problem: str = "") -> FuzzResult:
        tally, sides = self._campaign.tally, (self._front.reference, self._front.tested)
        packages: dict[str, str] = {}
        for side in sides:
            packages |= describe_environment(load_backend_class(side.backend), side.settings).packages
        fuzzed = FuzzSummary(
            model=self._checkpoint.name,
            backend=self._backend,
            fault=self._fault.name if self._fault else "",
            profile=self._profile.name,
            seed=self._profile.seed,
            rounds=tally.rounds,
            examples=tally.examples,
            shrinking=tally.shrinking,
            repeated=tally.repeated,
            outcomes=dict(tally.outcomes),
            seconds=tally.seconds,
            load_seconds=sum(side.load_seconds for side in sides),
            loads=sum(side.loads for side in sides),
            packages=packages,
            problem=problem,
            finished=finished,
        )
        more = self._campaign.more
        findings = (each.model_copy(update={"duplicates": more.get(key, 0)}) for key, each in self._findings)
        return FuzzResult(fuzzed, tuple(findings))

    def _file(self, caught: ShrunkFailure) -> None:
        """Asks the shrunk case once more under its name, and writes its verdict and its file."""
        case = self._build_named_case(caught)
        file = self._session.shard.folder / CASES_FOLDER / f"{case.name}.yaml"
        reproduce = self._reproduce(file)
        verdict, key = self._examiner.examine(case, caught.repeated, reproduce)
        verdict = self._apply_known_issues(verdict, caught.key, key)
        write_case(file, case, _build_comment(verdict, caught, reproduce))
        self._session.shard.add_case(case)
        self._session.shard.write_verdict(verdict)
        message = verdict.reason or _top_explanation(verdict)
        finding = FuzzFinding(
            model=self._checkpoint.name,
            backend=self._backend,
            failed_property=caught.key.failed_property,
            cause=caught.key.cause,
            case=case.name,
            shard=self._session.shard.folder.name,
            kind=verdict.kind,
            message=message[:_LONGEST_MESSAGE],
            known=verdict.known,
            seed=caught.seed,
            examples=caught.examples,
            not_shrunk_reason=caught.unshrunk,
            reproduce=reproduce,
        )
        self._findings.append((caught.key, finding))
        self._session.write(self._build_result(False))
        self._say(f"{verdict.kind} {caught.key.failed_property}: {caught.key.cause or message}: {case.name}")

    def _apply_known_issues(self, verdict: Verdict, caught: FindingKey, again: FindingKey | None) -> Verdict:
        if again != caught:
            shown = f"{again.failed_property}: {again.cause}" if again else "nothing"
            reason = f"it does not show every time: {caught.failed_property}: {caught.cause}, and, asked once more, {shown}"
            return verdict.model_copy(update={"kind": VerdictKind.ERROR, "reason": reason})
        if verdict.kind.passes or self._fault is not None:
            return verdict
        return apply_known_issues(verdict, self._session._known_issues, datetime.now(UTC).date())

    def _build_named_case(self, caught: ShrunkFailure) -> Case:
        backend, model = self._backend, self._checkpoint.name
        mark = compute_digest(
            [model, backend, self._fault and self._fault.name, caught.case.digest(), *caught.key]
        )[:8]
        planted = f" with the fault {self._fault.name!r}" if self._fault else ""
        summary = f"Catches {caught.key.failed_property} in {backend} on {model}{planted}"
        summary += f": {caught.key.cause}." if caught.key.cause else "."
        name = f"{FUZZED_PREFIX}{slugify(caught.key.failed_property)}_{mark}"
        return caught.case.model_copy(update={"name": name, "summary": summary})

    def _reproduce(self, file: Path) -> str:
        if self._fault is not None:
            words = ["pytest", "cases/test_fuzz.py", "--fuzz-fault", self._fault.name]
            return shlex.join([*words, "--backend", self._backend, "--model", self._model])
        selection = ["--backend", self._backend, "--model", self._model, "--case", file.stem]
        return f"parity run --depth tokens --cases {shlex.quote(str(file.parent))} " + shlex.join(selection)

    def _say(self, text: str) -> None:
        self._session._reporter.report(f"[fuzz {self._checkpoint.name} {self._backend}] {text}")


def slugify(text: str) -> str:
    """A text as a part of a case's name."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def _build_comment(verdict: Verdict, caught: ShrunkFailure, reproduce: str) -> list[str]:
    lines = [
        f"Found by the fuzzer, and shrunk: {caught.key.failed_property}: {caught.key.cause or 'not explained'}."
    ]
    lines += [f"It may not be the smallest: {caught.unshrunk}."] if caught.unshrunk else []
    lines += (
        [f"It shows where the engine is asked again, {caught.key.failed_property}."]
        if caught.repeated
        else []
    )
    said = (verdict.reason or _top_explanation(verdict)).splitlines()[:3]
    return [*lines, *said, reproduce]


def _top_explanation(verdict: Verdict) -> str:
    return verdict.diagnoses[0].explanation if verdict.diagnoses else ""


def _format_result(told: FuzzResult) -> str:
    fuzzed = told.fuzzed
    new = sum(not finding.passes for finding in told.findings)
    known = sum(finding.kind is VerdictKind.KNOWN for finding in told.findings)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(fuzzed.outcomes.items()))
    return (
        f"{fuzzed.examples} examples and {fuzzed.shrinking} while shrinking, {fuzzed.rate:.0f} a second: "
        f"{new} new findings, {known} known; {outcomes}"
    )
