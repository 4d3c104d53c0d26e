"""The contents of a case page, computed from a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from vlm_parity.report.aligned_ids import IdBlock, IdRun, build_blocks, build_one_sided_runs
from vlm_parity.report.case_media import find_thumbnail, find_thumbnail_problem, format_recipe
from vlm_parity.report.entries import ShardEntry, get_diff, list_stages
from vlm_parity.schema.case import Case, TextPart
from vlm_parity.schema.trace import EncoderBudget, Stage
from vlm_parity.schema.verdict import SequenceEvidence, StageDiff, Verdict
from vlm_parity.util.sequences import count_common_prefix

_CONTEXT = 200
SEQUENCE_STAGES = (Stage.INPUT_IDS, Stage.GREEDY)


@dataclass(frozen=True)
class MediumView:
    """A medium: its thumbnail and its description."""

    modality: str
    recipe: str
    thumbnail: str | None
    problem: str = ""
    """Why there is no thumbnail, if that is known."""


@dataclass(frozen=True)
class TurnView:
    """One turn of a conversation: texts and media in order."""

    role: str
    pieces: tuple[str | MediumView, ...]
    keys: str = ""
    """The other keys of the turn as YAML, such as tool calls; empty if there are none."""


@dataclass(frozen=True)
class PromptDifference:
    """Two prompts, split into common and different text."""

    index: int
    """Index of the first different character."""
    before: str
    reference: str
    tested: str
    after: str


@dataclass(frozen=True)
class SequenceView:
    """Ids of both sides: aligned if there is evidence, else those of each side that has any."""

    diff: StageDiff
    blocks: tuple[IdBlock, ...]
    sides: tuple[tuple[str, tuple[IdRun, ...]], ...]


def list_findings(verdict: Verdict) -> list[tuple[list[Stage], StageDiff]]:
    """List the messages and metrics of the stages; consecutive stages with the same message are merged.

    Comparisons on given values come after those on the engine's own.
    """
    findings: list[tuple[list[Stage], StageDiff]] = []
    own = list_stages(verdict)
    for diff in (*own, *(diff.conditioned for diff in own if diff.conditioned is not None)):
        if findings and _have_same_message(findings[-1][1], diff):
            findings[-1][0].append(diff.stage)
        elif diff.message or diff.metrics:
            findings.append(([diff.stage], diff))
    return findings


def build_conversation(
    shard: ShardEntry, case: Case, encoder_budget: EncoderBudget | None = None
) -> list[TurnView]:
    """Build the turns of a case, with thumbnails.

    Args:
        shard: holds the thumbnails.
        case: the conversation.
        encoder_budget: the engine's; describes its largest medium.
    """
    turns, number = [], 0
    for message in case.messages:
        pieces: list[str | MediumView] = []
        for piece in message.parts:
            if isinstance(piece, TextPart):
                pieces.append(piece.text)
                continue
            recipe = format_recipe(piece, encoder_budget)
            problem = find_thumbnail_problem(shard, case, number)
            pieces.append(MediumView(piece.modality, recipe, find_thumbnail(shard, case, number), problem))
            number += 1
        keys = {name: value for name, value in message.envelope.items() if name != "role"}
        if message.content is None:
            keys |= {"content": None} if message.has_content else {}
        turns.append(TurnView(message.role, tuple(pieces), format_keys(keys)))
    return turns


def format_keys(keys: Mapping[str, Any]) -> str:
    """Format keys of a case as in its file; empty if there are none."""
    return yaml.safe_dump(dict(keys), allow_unicode=True, sort_keys=False, width=100) if keys else ""


def build_prompt_difference(verdict: Verdict) -> PromptDifference | None:
    """Split the prompts at their difference; None if they are equal or one is missing."""
    left, right = verdict.reference.prompt, verdict.tested.prompt
    if left is None or right is None or left == right:
        return None
    index = count_common_prefix(left, right)
    shared = count_common_prefix(left[index:][::-1], right[index:][::-1])
    return PromptDifference(
        index=index,
        before=_clip_text(left[:index][::-1])[::-1],
        reference=left[index : len(left) - shared],
        tested=right[index : len(right) - shared],
        after=_clip_text(left[len(left) - shared :]),
    )


def build_sequence_view(verdict: Verdict, stage: Stage) -> SequenceView | None:
    """Build the view of the ids of both sides at a stage; None if neither side has any."""
    reference, tested = verdict.reference, verdict.tested
    evidence = get_diff(verdict, stage).evidence
    aligned: list[IdBlock] = []
    if isinstance(evidence, SequenceEvidence) and not all(hunk.equal for hunk in evidence.hunks):
        aligned = build_blocks(evidence, reference, tested)
    sides = []
    for name, trace in (("reference", reference), (verdict.backend, tested)):
        ids = trace.input_ids if stage == Stage.INPUT_IDS else trace.greedy
        if ids is not None and not aligned:
            sides.append((name, ids, tuple(build_one_sided_runs(ids, trace.vocabulary))))
    if len({ids for _, ids, _ in sides}) == 1 and len(sides) > 1:
        sides = [("both sides", *sides[0][1:])]
    if not aligned and not sides:
        return None
    return SequenceView(
        get_diff(verdict, stage), tuple(aligned), tuple((name, runs) for name, _, runs in sides)
    )


def _have_same_message(left: StageDiff, right: StageDiff) -> bool:
    has_only_message = bool(left.message) and not left.metrics
    return has_only_message and left.model_copy(update={"stage": right.stage}) == right


def _clip_text(text: str) -> str:
    return text if len(text) <= _CONTEXT else f"{text[:_CONTEXT]}…"
