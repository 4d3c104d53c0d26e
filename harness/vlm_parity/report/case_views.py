"""What a case page shows, computed from a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile

from vlm_parity.report.aligned_ids import Block, Run, blocks, one_sided
from vlm_parity.report.case_media import recipe, thumbnail
from vlm_parity.report.entries import FiledPart, all_stages, diff_at
from vlm_parity.schema.case import Case, TextPart
from vlm_parity.schema.trace import Reserved, Stage
from vlm_parity.schema.verdict import SequenceEvidence, StageDiff, Verdict

_CONTEXT = 200
SEQUENCE_STAGES = (Stage.INPUT_IDS, Stage.GREEDY)


@dataclass(frozen=True)
class Medium:
    """A picture of a medium, and what it is made of."""

    modality: str
    recipe: str
    thumbnail: str | None


@dataclass(frozen=True)
class Turn:
    """One turn of the conversation: texts and media in order."""

    role: str
    pieces: tuple[str | Medium, ...]


@dataclass(frozen=True)
class PromptDifference:
    """Two prompts, cut into what they share and what they do not."""

    index: int
    """Where they part, in characters."""
    before: str
    reference: str
    tested: str
    after: str


@dataclass(frozen=True)
class Sequence:
    """Ids of both sides: aligned where there is evidence, else those of each side that has any."""

    diff: StageDiff
    blocks: tuple[Block, ...]
    sides: tuple[tuple[str, tuple[Run, ...]], ...]


def findings(verdict: Verdict) -> list[tuple[list[Stage], StageDiff]]:
    """What the stages have to say; neighbours that say the same word for word say it once."""
    found: list[tuple[list[Stage], StageDiff]] = []
    for diff in all_stages(verdict):
        if found and _same_words(found[-1][1], diff):
            found[-1][0].append(diff.stage)
        elif diff.message or diff.metrics:
            found.append(([diff.stage], diff))
    return found


def conversation(part: FiledPart, case: Case, reserved: Reserved | None = None) -> list[Turn]:
    """The turns of the case, with thumbnails; ``reserved`` is what the engine said of its largest medium."""
    turns, number = [], 0
    for message in case.messages:
        pieces: list[str | Medium] = []
        for piece in message.parts:
            if isinstance(piece, TextPart):
                pieces.append(piece.text)
                continue
            pieces.append(Medium(piece.modality, recipe(piece, reserved), thumbnail(part, case, number)))
            number += 1
        turns.append(Turn(message.role, tuple(pieces)))
    return turns


def prompt_difference(verdict: Verdict) -> PromptDifference | None:
    """The prompts where they part; None where they are equal or one is missing."""
    left, right = verdict.reference.prompt, verdict.tested.prompt
    if left is None or right is None or left == right:
        return None
    index = _shared(left, right)
    shared = _shared(left[index:][::-1], right[index:][::-1])
    return PromptDifference(
        index=index,
        before=_clipped(left[:index][::-1])[::-1],
        reference=left[index : len(left) - shared],
        tested=right[index : len(right) - shared],
        after=_clipped(left[len(left) - shared :]),
    )


def sequence(verdict: Verdict, stage: Stage) -> Sequence | None:
    """The ids of both sides at a stage; None where neither side has any."""
    reference, tested = verdict.reference, verdict.tested
    evidence = diff_at(verdict, stage).evidence
    aligned: list[Block] = []
    if isinstance(evidence, SequenceEvidence) and not all(hunk.equal for hunk in evidence.hunks):
        aligned = blocks(evidence, reference, tested)
    sides = []
    for name, trace in (("reference", reference), (verdict.backend, tested)):
        ids = trace.input_ids if stage == Stage.INPUT_IDS else trace.greedy
        if ids is not None and not aligned:
            sides.append((name, ids, tuple(one_sided(ids, trace.vocabulary))))
    if len({ids for _, ids, _ in sides}) == 1 and len(sides) > 1:
        sides = [("both sides", *sides[0][1:])]
    shown = tuple((name, runs) for name, _, runs in sides)
    return Sequence(diff_at(verdict, stage), tuple(aligned), shown) if aligned or shown else None


def _same_words(one: StageDiff, other: StageDiff) -> bool:
    return bool(one.message) and not one.metrics and one.model_copy(update={"stage": other.stage}) == other


def _shared(left: str, right: str) -> int:
    """How many characters two texts have in common at their start."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))


def _clipped(text: str) -> str:
    return text if len(text) <= _CONTEXT else f"{text[:_CONTEXT]}…"
