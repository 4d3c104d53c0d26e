"""Coverage of known issues: the verdicts of a run that each explains, and what could hide behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus, Verdict, VerdictKind
from vlm_parity.verdicts.conditioned import find_unjudged
from vlm_parity.verdicts.known_issues import FAILURES, KnownIssue, remove_known_issues

LIMIT_RATIO = "limit_ratio"
_OF_MEDIA = (Stage.MEDIA, Stage.VISION)
_NUMERIC = (Stage.VISION, Stage.PREFILL, Stage.DECODE)


@dataclass(frozen=True)
class Coverage:
    """One known issue and the verdicts of a run that it explains."""

    issue: KnownIssue
    verdicts: tuple[Verdict, ...]

    @property
    def causes(self) -> Counter[str]:
        """The most confident causes at the stage of the issue, with the number of verdicts."""
        found = (self._get_cause(verdict) for verdict in self.verdicts)
        return Counter(cause for cause in found if cause)

    @property
    def following(self) -> Counter[Stage]:
        """The stages whose difference may follow from this one: a second fault there is hidden."""
        return Counter(
            diff.stage
            for verdict in self.verdicts
            for diff in verdict.stages
            if diff.consequence and not diff.is_compared_on_given
        )

    @property
    def not_compared(self) -> Counter[Stage]:
        """The stages behind the difference that were not compared: a second fault there is hidden, too."""
        return Counter(stage for verdict in self.verdicts for stage in _list_not_compared(verdict))

    @property
    def largest(self) -> float:
        """The largest limit ratio at the stage of the issue; 0 if the stage has none."""
        if self.issue.stage not in _NUMERIC:
            return 0.0
        diffs = (verdict.get_difference(Stage(self.issue.stage)) for verdict in self.verdicts)
        return max((float(diff.metrics.get(LIMIT_RATIO, 0)) for diff in diffs if diff), default=0.0)

    @property
    def warnings(self) -> Iterator[str]:
        """The reasons why the issue may explain more than its evidence."""
        if not self.verdicts:
            yield "explains nothing in this run"
        if self.causes and not self.issue.cause:
            yield f"explains any cause; here: {', '.join(map(repr, self.causes))}"
        limits = self.issue.at_most.get(Stage(self.issue.stage), {}) if self.issue.stage in _NUMERIC else {}
        if self.largest and LIMIT_RATIO not in limits:
            yield f"explains any size; the largest {LIMIT_RATIO} here is {self.largest:.4g}"

    def _get_cause(self, verdict: Verdict) -> str:
        diagnoses = [each for each in verdict.diagnoses if each.stage == self.issue.stage]
        return diagnoses[0].cause if diagnoses else ""


def measure_coverage(issues: Iterable[KnownIssue], verdicts: Iterable[Verdict]) -> list[Coverage]:
    """Return the coverage of each issue that applies to a model and a backend of the run."""
    judged = [remove_known_issues(verdict) for verdict in verdicts]
    failing = [verdict for verdict in judged if verdict.kind in {VerdictKind.MISMATCH, *FAILURES}]
    return [
        Coverage(issue, tuple(filter(issue.explains, failing)))
        for issue in issues
        if issue.case and any(map(issue.matches_target, judged))
    ]


def _list_not_compared(verdict: Verdict) -> Iterator[Stage]:
    unjudged = find_unjudged(verdict)
    for diff in verdict.stages:
        is_asked = verdict.depth is Depth.LOGITS or diff.stage.depth is Depth.TOKENS
        is_compared = diff.status is not DiffStatus.NOT_COMPARED or diff.is_compared_on_given
        if diff.stage in _OF_MEDIA and verdict.reference.spans == ():
            continue  # there is nothing to compare
        if diff.stage in unjudged and is_asked and not is_compared:
            yield diff.stage
