"""Handmade traces: one image, a few words, a vocabulary of 32. No engine is involved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from vlm_parity.diff.compare import compare_stages
from vlm_parity.diff.pair import TracePair
from vlm_parity.schema.case import Case
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.media_source import ImageRecipe
from vlm_parity.schema.noise_floor import FloorRecord, NoiseFloor, StageNoise, get_floor_folder
from vlm_parity.schema.run import ModelInfo
from vlm_parity.schema.trace import (
    ARRAY_FILE,
    EncoderBudget,
    Environment,
    MediaInput,
    Outcome,
    Span,
    Stage,
    Trace,
)
from vlm_parity.schema.trace_arrays import ArrayFile
from vlm_parity.schema.verdict import StageDiff, Verdict
from vlm_parity.session.shard_writer import ShardWriter
from vlm_parity.verdicts.decide import decide_conditioned, decide_verdict

PROMPT = "<user>Look: <image>What is it?<assistant>"
WORDS = {0: "<user>", 1: "Look:", 2: " ", 3: "What", 4: " is", 5: " it", 6: "?", 7: "<assistant>", 8: "A"}
IMAGE_PAD, PAD = 9, 10
VOCABULARY = {**WORDS, IMAGE_PAD: "<|image_pad|>", PAD: "<|endoftext|>", 11: " cat", 12: "."}
VOCABULARY_SIZE = 32
IDS = (0, 1, 2, *[IMAGE_PAD] * 4, 3, 4, 5, 6, 7)
IMAGE = Span.of("image", 0, range(3, 7))
CONTINUATION = (8, 11, 12)
RANDOM = np.random.default_rng(20260729)
PREFILL = RANDOM.normal(0, 3, (len(IDS), VOCABULARY_SIZE)).astype(np.float32)
DECODE = RANDOM.normal(0, 3, (len(CONTINUATION) - 1, VOCABULARY_SIZE)).astype(np.float32)
POSITIONS = np.arange(len(IDS))[np.newaxis].repeat(3, axis=0)
FEATURES = RANDOM.normal(0, 1, (IMAGE.embedded, 8)).astype(np.float32)
ENCODER_BUDGET = EncoderBudget(
    modality="image",
    tokens=IMAGE.embedded,
    medium=ImageRecipe(pattern="plain", size=(56, 56)),
    condition="at a max_model_len of 64",
)
IMAGE_INPUT = MediaInput(modality="image", item=0, fields={"grid": (1, 4, 4)}, arrays=("pixel_values",))
PIXELS = RANDOM.normal(0, 1, (16, 12)).astype(np.float32)
ARRAYS: dict[str, np.ndarray] = {
    IMAGE_INPUT.tensor_name("pixel_values"): PIXELS,
    "positions": POSITIONS,
    "vision": FEATURES,
    "prefill": PREFILL,
    "decode": DECODE,
}
NOISE = 1e-6
"""The root mean square of the noise at every row; three times that is the largest difference."""
FLOOR = NoiseFloor(
    FloorRecord(
        truth="float64",
        dtype="float32",
        samples=("eager, alone", "sdpa, alone"),
        stages=(Stage.VISION, Stage.PREFILL, Stage.DECODE),
    ),
    {
        Stage(stage): StageNoise(np.full((2, len(rows)), NOISE), np.full((2, len(rows)), 3 * NOISE))
        for stage, rows in (("vision", FEATURES), ("prefill", PREFILL), ("decode", DECODE))
    },
)
ENVIRONMENT = Environment(python="3.11.9", platform="any", device="cpu", dtype="float32", packages={})
NOTHING: dict[str, Any] = {
    **dict.fromkeys(("prompt", "input_ids", "spans", "encoder_budget", "media", "continuation", "greedy")),
    "arrays": (),
}


def make_case(name: str = "one_image") -> Case:
    """Build the case of a trace."""
    image = {"image": {"pattern": "plain", "size": [56, 56]}}
    content = [{"text": "Look: "}, image, {"text": "What is it?"}]
    messages = [{"role": "user", "content": content}]
    return Case.model_validate({"name": name, "summary": "One image.", "messages": messages})


def make_trace(backend: str = "vllm", **changes: Any) -> Trace:
    """Build a trace in which everything was captured, with ``changes``."""
    values = {
        "case": "one_image",
        "case_digest": make_case(changes.get("case", "one_image")).digest(),
        "model": "qwen2_vl",
        "backend": backend,
        "depth": Depth.LOGITS,
        "environment": ENVIRONMENT,
        "outcome": Outcome.CAPTURED,
        "prompt": PROMPT,
        "input_ids": IDS,
        "spans": (IMAGE,),
        "encoder_budget": None if backend == "transformers" else ENCODER_BUDGET,
        "media": (IMAGE_INPUT,),
        "continuation": CONTINUATION,
        "greedy": CONTINUATION,
        "vocabulary": VOCABULARY,
        "arrays": tuple(sorted(ARRAYS)),
    }
    return Trace.model_validate(values | changes)


def make_failed_trace(outcome: Outcome, backend: str = "vllm", message: str = "its own words") -> Trace:
    """Build an empty trace."""
    return make_trace(backend, outcome=outcome, message=message, **NOTHING)


def make_pair(reference: Trace | None = None, tested: Trace | None = None, **files: ArrayFile) -> TracePair:
    """Pair two traces, without arrays unless they are given."""
    tensors = {"reference_tensors": None, "tested_tensors": None, **files}
    return TracePair(reference or make_trace("transformers"), tested or make_trace(), floor=FLOOR, **tensors)


def compute_diffs(pair: TracePair) -> dict[Stage, StageDiff]:
    """Compare all stages."""
    return {diff.stage: diff for diff in compare_stages(pair)}


def write_shard(run: Path, name: str, *verdicts: Verdict, expected: int | None = None) -> None:
    """Write a finished shard of a run."""
    cases = {verdict.case: make_case(verdict.case) for verdict in verdicts}
    shard = ShardWriter(run / "shards" / name, "pytest cases", cases)
    shard.add_expected(len(verdicts) if expected is None else expected)
    shard.start({verdict.backend: None for verdict in verdicts})
    for verdict in verdicts:
        shard.add_model_info(ModelInfo(name=verdict.model, family="qwen2_vl", source="synthetic"))
        shard.write_verdict(verdict)
    shard.finish()


class TraceFiles:
    """Two folders of traces that agree in everything, until a test writes one of them anew."""

    def __init__(self, folder: Path) -> None:
        self.reference, self.tested = folder / "reference", folder / "vllm"
        self._traces: dict[Path, Trace] = {}
        self.measured(FLOOR)
        self.write(self.reference, make_trace("transformers"), ARRAYS)
        self.write(self.tested, make_trace(), ARRAYS)

    def write(self, folder: Path, written: Trace, arrays: dict[str, np.ndarray] | None = None) -> None:
        """Write a trace; without ``arrays`` the old ones remain, but a trace that names none has none."""
        if arrays is not None:
            written = written.model_copy(update={"arrays": tuple(sorted(arrays))})
        written.write(folder, arrays)
        if not written.arrays:
            (folder / ARRAY_FILE).unlink(missing_ok=True)
        self._traces[folder] = written

    def read(self, side: str) -> Trace:
        """Return the record of ``reference`` or ``tested``."""
        return self._traces[getattr(self, side)]

    def read_arrays(self, side: str) -> dict[str, np.ndarray]:
        """Return the arrays of ``reference`` or ``tested``."""
        file = getattr(self, side) / ARRAY_FILE
        return load_file(file) if file.exists() else {}

    def measured(self, floor: NoiseFloor) -> None:
        """Write a noise floor of the reference."""
        floor.write(get_floor_folder(self.reference, floor.record.dtype))

    def decide_verdict(self, alone: Verdict | None = None) -> Verdict:
        """Decide the verdict on the written traces."""
        sides = self._traces[self.reference], self._traces[self.tested]
        return decide_verdict(*sides, self.reference, self.tested, "pytest cases --case one_image", alone)

    def add_pass(
        self,
        verdict: Verdict,
        condition: Condition,
        arrays: dict[str, np.ndarray] | None = None,
        **changes: Any,
    ) -> Verdict:
        """Add a pass on given values to a verdict: a trace that agrees in everything, with ``changes``."""
        folder = self.tested.with_name(f"vllm-given-{condition}")
        self.write(folder, make_trace(condition=condition, **changes), ARRAYS if arrays is None else arrays)
        return decide_conditioned(verdict, self._traces[folder], self.reference, folder)
