"""Builders of run folders, record by record, as a session writes them. No engine is involved."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import PIL.Image
import pytest

from vlm_parity.schema.case import Case
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.record import write_record
from vlm_parity.schema.run import ModelInfo, Shard
from vlm_parity.schema.run_layout import get_verdict_path
from vlm_parity.schema.trace import Environment, Outcome, Span, Stage, Trace
from vlm_parity.schema.verdict import (
    Candidate,
    Diagnosis,
    DiffStatus,
    Hunk,
    LogitEvidence,
    SequenceEvidence,
    StageDiff,
    TextEvidence,
    Verdict,
    VerdictKind,
)

IMAGE_PAD, PAD, VISION_START, VISION_END = 151655, 151643, 151652, 151653
VOCABULARY = {
    IMAGE_PAD: "<|image_pad|>",
    PAD: "<|endoftext|>",
    VISION_START: "<|vision_start|>",
    VISION_END: "<|vision_end|>",
    **{n: f" word{n}" for n in range(40)},
}
TEXT = "What is in this image?"
BOUND = 2.8e-5
NOT_CAPTURED = (Stage.MEDIA, Stage.POSITIONS, Stage.VISION)


_SELF = sys.modules[__name__]
"""Stored here because the conftest of another folder has the same module name."""


def case(name: str, *, images: int = 1, text: str = TEXT) -> Case:
    image = {"image": {"pattern": "gradient", "size": [336, 224], "seed": 3}}
    content = [image] * images + [{"text": text}]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}]
    return Case.model_validate({"name": name, "summary": f"The case {name}.", "messages": messages})


def environment(**changes: Any) -> Environment:
    values = {
        "python": "3.11.9",
        "platform": "Linux x86_64",
        "device": "cpu",
        "dtype": "float32",
        "packages": {"torch": "2.12.1", "transformers": "5.19.0"},
    }
    return Environment.model_validate(values | changes)


def prompt_ids(placeholder: int = IMAGE_PAD, count: int = 88) -> tuple[int, ...]:
    return (*range(14), VISION_START, *[placeholder] * count, VISION_END, *range(14, 34))


def image_span(count: int = 88, offset: int = 15) -> Span:
    return Span.of("image", 0, range(offset, offset + count))


def trace(backend: str, case_name: str, **changes: Any) -> Trace:
    values = {
        "case": case_name,
        "case_digest": case(case_name).digest(),
        "model": "qwen2_5_vl",
        "backend": backend,
        "depth": Depth.LOGITS,
        "environment": environment(),
        "outcome": Outcome.CAPTURED,
        "prompt": f"<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>{TEXT}<|im_end|>\n",
        "input_ids": prompt_ids(),
        "spans": (image_span(),),
        "continuation": (5, 6, 7, 8),
        "greedy": (5, 6, 7, 8),
        "vocabulary": VOCABULARY,
        "not_captured": dict.fromkeys(NOT_CAPTURED, "The backend does not give this out."),
        "arrays": ("decode", "prefill"),
    }
    return Trace.model_validate(values | changes)


def logits(stage: Stage, values: Iterable[float], *, first: int, **changes: Any) -> StageDiff:
    largest = tuple(values)
    worst = max(range(len(largest)), key=lambda row: largest[row])
    top = [Candidate(id=n, text=f" word{n}", logprob=-0.4 - 0.7 * n) for n in range(5)]
    moved = [Candidate(id=c.id, text=c.text, logprob=c.logprob + largest[worst] * 0.6) for c in top[::-1]]
    evidence = LogitEvidence(
        first_position=first,
        rule="transformers' own float32 against its float64, 4 runs",
        row_limit_ratios=tuple(value / BOUND for value in largest),
        noise=(BOUND / 8,) * len(largest),
        rms=tuple(value / 4 for value in largest),
        max_abs=largest,
        kl=tuple(value**2 for value in largest),
        top1_equal=tuple(value < 0.3 for value in largest),
        worst_position=first + worst,
        reference_top=tuple(top),
        tested_top=tuple(moved),
    )
    over = sum(value > BOUND for value in largest)
    metrics = {"positions": len(largest), "max_abs": max(largest), "over_limit": over}
    message = (
        f"{stage} log-probabilities differ at {over} of {len(largest)} positions\nmax abs ..." if over else ""
    )
    status = DiffStatus.MISMATCH if over else DiffStatus.MATCH
    values_of_diff = {
        "stage": stage, "status": status, "message": message, "metrics": metrics, "evidence": evidence,
    }  # fmt: skip
    return StageDiff.model_validate(values_of_diff | changes)


def agreeing() -> dict[Stage, StageDiff]:
    """Return the diffs of a comparison without a difference."""
    diffs = {stage: StageDiff(stage=stage, status=DiffStatus.MATCH) for stage in Stage}
    for stage in (*NOT_CAPTURED, Stage.ENCODER_BUDGET):
        message = "The backend does not give this out."
        diffs[stage] = StageDiff(stage=stage, status=DiffStatus.NOT_COMPARED, message=message)
    count = len(prompt_ids())
    diffs[Stage.PREFILL] = logits(Stage.PREFILL, _noise(count, 3e-6), first=0)
    diffs[Stage.DECODE] = logits(Stage.DECODE, _noise(3, 4e-6), first=count)
    return diffs


def wrong_ids() -> StageDiff:
    """Return a mismatch of ids: pad tokens instead of image placeholders."""
    before = tuple((n, 1) for n in (*range(14), VISION_START))
    after = tuple((n, 1) for n in (VISION_END, *range(14, 34)))
    hunks = (
        Hunk(equal=True, reference_index=0, tested_index=0, reference=before, tested=before),
        Hunk(
            equal=False, reference_index=15, tested_index=15,
            reference=((IMAGE_PAD, 88),), tested=((PAD, 88),),
        ),
        Hunk(equal=True, reference_index=103, tested_index=103, reference=after, tested=after),
    )  # fmt: skip
    return StageDiff(
        stage=Stage.INPUT_IDS,
        status=DiffStatus.MISMATCH,
        message="input_ids differ: first at index 15, 88 positions differ\n  index  reference  lmdeploy",
        metrics={"reference_length": 124, "tested_length": 124, "different": 88, "first_different": 15},
        evidence=SequenceEvidence(hunks=hunks),
    )


def verdict(kind: VerdictKind = VerdictKind.MATCH, *diffs: StageDiff, **changes: Any) -> Verdict:
    """Return a verdict whose stages match except for ``diffs``."""
    name, backend = changes.get("case", "one_image"), changes.get("backend", "vllm")
    stages = agreeing() | {diff.stage: diff for diff in diffs}
    found = [stage for stage, diff in stages.items() if diff.status == DiffStatus.MISMATCH]
    for stage in found[1:]:
        stages[stage] = stages[stage].model_copy(update={"consequence": True})
    values = {
        "case": name,
        "model": "qwen2_5_vl",
        "backend": backend,
        "depth": Depth.LOGITS,
        "kind": kind,
        "first_divergence": found[0] if found else None,
        "stages": tuple(stages.values()),
        "reference": trace("transformers", name),
        "tested": trace(backend, name),
        "reproduce": f"pytest cases --backend {backend} -k {name}",
    }
    return Verdict.model_validate(values | changes)


def silent(kind: VerdictKind, message: str, **changes: Any) -> Verdict:
    """Return a verdict on a backend without any output to compare."""
    why = f"The backend has nothing to compare: {kind}."
    diffs = [StageDiff(stage=stage, status=DiffStatus.NOT_COMPARED, message=why) for stage in Stage]
    name, backend = changes.get("case", "one_image"), changes.get("backend", "vllm")
    nothing: dict[str, Any] = dict.fromkeys(("prompt", "input_ids", "spans", "continuation", "greedy"))
    nothing["arrays"] = ()
    outcome = Outcome(kind) if str(kind) in set(map(str, Outcome)) else Outcome.ERROR
    tested = trace(backend, name, outcome=outcome, message=message, **nothing)
    return verdict(kind, *diffs, reason=message.splitlines()[0], tested=tested, **changes)


class RunBuilder:
    """Writes a run folder record by record."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def shard(self, *verdicts: Verdict, name: str = "vllm", **changes: Any) -> Path:
        """Write a shard with its verdicts; ``expected`` is their number unless it is given."""
        folder = self.folder / "shards" / name
        values = {
            "name": name,
            "started": "2026-03-01T09:00:00Z",
            "finished": "2026-03-01T09:04:10Z",
            "command": f"pytest cases --backend {name}",
            "backends": tuple(dict.fromkeys(v.backend for v in verdicts)) or (name,),
            "cases": {v.case: case(v.case) for v in verdicts},
            "models": {
                v.model: ModelInfo(name=v.model, family="qwen2_5_vl", source="synthetic") for v in verdicts
            },
            "expected": len(verdicts),
            "issue_descriptions": {f"issue {n}": v.known for n, v in enumerate(verdicts) if v.known},
            "seconds": {f"qwen2_5_vl/{name}/load": 61.5, f"qwen2_5_vl/{name}/capture": 12.25, "diff": 0.8},
        }
        write_record(folder / "shard.json", Shard.model_validate(values | changes))
        for item in verdicts:
            write_record(get_verdict_path(folder, item), item)
        return folder

    def thumbnail(self, shard: str, case_name: str, number: int = 0) -> None:
        """Write the thumbnail of a medium."""
        path = self.folder / "shards" / shard / "media" / case_name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        file = io.BytesIO()
        PIL.Image.linear_gradient("L").resize((160, 107)).convert("RGB").save(file, "PNG")
        path.write_bytes(file.getvalue())

    def sample(self) -> Path:
        """Write a run with verdicts of most kinds."""
        names = [f"{'two_images' if n % 3 else 'one_image'}_{n}" for n in range(5)]
        for shard, engine in (
            ("vllm", environment(packages=_VLLM)),
            ("lmdeploy", environment(packages=_LMDEPLOY)),
        ):
            verdicts = [
                verdict(case=name, model=model, backend=shard, tested=trace(shard, name, environment=engine))
                for model in ("qwen2_5_vl", "qwen3_vl")
                for name in names
            ]
            self.shard(*verdicts, *_failures(shard, engine), name=shard)
            self.thumbnail(shard, "wrong_ids")
            self.thumbnail(shard, "far_logits")
            log = self.folder / "shards" / shard / "logs" / f"qwen2_5_vl-{shard}.log"
            log.parent.mkdir()
            log.write_text("loading\n\x1b[31mERROR\x1b[0m worker died\n")
        return self.folder


DIAGNOSES = (
    Diagnosis(
        stage=Stage.INPUT_IDS, cause="pad token used as image token", confidence=0.95,
        explanation="All 88 placeholders of image 0 hold <|endoftext|> (151643), the pad token, where the "
        "reference has <|image_pad|> (151655): the engine fills the span from pad_token_id.",
    ),
    Diagnosis(
        stage=Stage.INPUT_IDS, cause="another tokenizer", confidence=0.2,
        explanation="One id of 88 is not the same.",
    ),
)  # fmt: skip

_VLLM = {"torch": "2.13.0", "transformers": "5.19.0", "vllm": "0.32.0"}
_LMDEPLOY = {"torch": "2.12.1", "transformers": "5.21.0", "lmdeploy": "0.18.0"}


def _noise(count: int, size: float) -> list[float]:
    return [size * (0.5 + 0.45 * math.sin(n * 1.7) * math.cos(n * 0.31)) for n in range(count)]


def _failures(shard: str, engine: Environment) -> list[Verdict]:
    def side(name: str, **changes: Any) -> Trace:
        return trace(shard, name, environment=engine, **changes)

    count = len(prompt_ids())
    grown = [v if n < 40 else 6e-4 * (n - 38) ** 1.6 for n, v in enumerate(_noise(count, 4e-6))]
    prefill = logits(Stage.PREFILL, grown, first=0)
    decode = logits(Stage.DECODE, [0.31, 0.4, 0.2], first=count, consequence=True)
    ids = wrong_ids()
    text = "<|im_start|>user\nImage 1: <|vision_start|><|image_pad|><|vision_end|>"
    prompt = StageDiff(
        stage=Stage.PROMPT, status=DiffStatus.MISMATCH, message="prompts differ at character 17",
        evidence=TextEvidence(index=17, reference="<|vision", tested="Image 1"),
    )  # fmt: skip
    shifted = Span.of("image", 0, range(18, 106))
    spans = StageDiff(
        stage=Stage.SPANS, status=DiffStatus.MISMATCH, message="spans differ: 1 of 1", consequence=True
    )
    crash = "The process ended with signal 11 (segmentation fault) while it answered this case."
    model = {"model": "qwen2_5_vl", "backend": shard}
    if shard == "lmdeploy":
        return [
            verdict(VerdictKind.MISMATCH, ids, decode, case="wrong_ids", **model,
                    reason="88 ids in place of <|image_pad|> are <|endoftext|>.", diagnoses=DIAGNOSES,
                    tested=side("wrong_ids", input_ids=prompt_ids(PAD))),
            verdict(VerdictKind.MISMATCH, prompt, spans, case="other_prompt", **model,
                    reason="The prompt has a text before the image that the template does not.",
                    tested=side("other_prompt", prompt=text + TEXT, spans=(shifted,))),
            silent(VerdictKind.UNSUPPORTED, "Qwen3VLForConditionalGeneration takes no video.",
                   case="video", model="qwen3_vl", backend=shard),
            silent(VerdictKind.ERROR, "ValueError: image must be larger than 28 x 28\n  in smart_resize",
                   case="tiny", **model),
        ]  # fmt: skip
    return [
        verdict(VerdictKind.MISMATCH, prefill, decode, case="far_logits", **model,
                reason="Ids and spans are equal; the logits part at position 40, within image 0.",
                tested=side("far_logits")),
        silent(VerdictKind.CRASH, crash, case="panorama", **model),
        verdict(VerdictKind.KNOWN, prefill, case="known_one", model="qwen3_vl", backend=shard,
                reason="The logits part.", known="gelu: another one.", tested=side("known_one")),
    ]  # fmt: skip


@pytest.fixture
def builder(tmp_path: Path) -> RunBuilder:
    """Return the builder of an empty run folder."""
    return RunBuilder(tmp_path / "run-1")


@pytest.fixture
def records() -> ModuleType:
    """Return this module, which builds single records."""
    return _SELF
