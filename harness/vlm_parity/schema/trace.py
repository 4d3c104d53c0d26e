"""A trace: all that one backend saw and produced for one case.

A trace is a folder with ``trace.json`` (the record) and ``tensors.safetensors`` (its arrays).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

import numpy as np
from pydantic import Field

from vlm_parity.schema.case import Modality
from vlm_parity.schema.engine_setup import DEFAULT_MODE, EntryPoint
from vlm_parity.schema.media_source import AudioRecipe, ImageRecipe, VideoRecipe
from vlm_parity.schema.record import Record, read_record, write_record
from vlm_parity.schema.safetensors_file import write_safetensors

TRACE_SCHEMA = 8


class Depth(StrEnum):
    """How far a trace goes."""

    TOKENS = "tokens"
    """No weights needed: the front ends of the engines only."""
    LOGITS = "logits"
    """The engine runs."""


class Stage(StrEnum):
    """The points of comparison, in the order in which data flows."""

    PROMPT = "prompt"
    INPUT_IDS = "input_ids"
    SPANS = "spans"
    ENCODER_BUDGET = "encoder_budget"
    MEDIA = "media"
    POSITIONS = "positions"
    VISION = "vision"
    PREFILL = "prefill"
    DECODE = "decode"
    GREEDY = "greedy"

    @property
    def depth(self) -> Depth:
        """The depth at which the stage is captured."""
        return Depth.LOGITS if self in _NEEDS_WEIGHTS else Depth.TOKENS


_NEEDS_WEIGHTS = {Stage.VISION, Stage.PREFILL, Stage.DECODE, Stage.GREEDY}


RECORD_FIELDS = {
    Stage.PROMPT: "prompt",
    Stage.INPUT_IDS: "input_ids",
    Stage.SPANS: "spans",
    Stage.ENCODER_BUDGET: "encoder_budget",
    Stage.MEDIA: "media",
    Stage.GREEDY: "greedy",
}
"""The field of ``Trace`` that holds a stage; the other stages lie among its tensors."""


class Outcome(StrEnum):
    """How the capture of one case ended."""

    CAPTURED = "captured"
    UNSUPPORTED = "unsupported"
    """The backend says that it does not serve this."""
    REFUSED = "refused"
    """The backend's front end raised at this input."""
    ERROR = "error"
    """The backend raised later: while loading, or while it ran."""
    CRASH = "crash"
    """Its process died or hung."""


class Span(Record):
    """The prompt positions that one medium's features replace.

    Engines draw the borders differently (some count the timestamps between the frames of a video
    in), so a span is made of the embedded positions alone.
    """

    modality: Modality
    item: int
    """The how-manieth medium of its modality in the prompt, from 0."""
    runs: tuple[tuple[int, int], ...]
    """Half-open ranges of embedded positions, in order."""

    @classmethod
    def of(cls, modality: Modality, item: int, positions: Iterable[int]) -> Span:
        """Builds a span from its embedded positions, in any order."""
        ordered = sorted(positions)
        starts = ordered[:1] + [b for a, b in pairwise(ordered) if b != a + 1]
        stops = [a + 1 for a, b in pairwise(ordered) if b != a + 1] + [p + 1 for p in ordered[-1:]]
        return cls(modality=modality, item=item, runs=tuple(zip(starts, stops, strict=True)))

    @property
    def positions(self) -> list[int]:
        """The embedded positions, in order."""
        return [position for run in self.runs for position in range(*run)]

    @property
    def offset(self) -> int:
        """The first embedded position."""
        return self.runs[0][0] if self.runs else 0

    @property
    def length(self) -> int:
        """From the first embedded position to the last, both counted."""
        return self.runs[-1][1] - self.offset if self.runs else 0

    @property
    def embedded(self) -> int:
        """How many positions are embedded."""
        return sum(stop - start for start, stop in self.runs)


class FrameSampling(Record):
    """Which frames a side took from a video file that it opened by itself: evidence, for what the model is
    given of it is compared.
    """

    decoder: str
    """What opened the file: ``pyav``, ``opencv``."""
    total: int
    """Frames in the file, as the decoder counts them."""
    fps: float
    """Frames a second, as the decoder says."""
    indices: tuple[int, ...]
    """The frames taken, by their place in the file."""

    @property
    def description(self) -> str:
        """In words: ``frames 0, 12, 24, 36 of 48``."""
        if self.indices == tuple(range(self.total)):
            return f"all of {self.total} frames"
        return f"frames {', '.join(map(str, self.indices))} of {self.total}"

    @property
    def timestamps(self) -> tuple[float, ...]:
        """When each frame taken begins, if the rate does not change."""
        return tuple(index / self.fps for index in self.indices) if self.fps else ()


class MediaInput(Record):
    """One medium as it enters the vision tower."""

    modality: Modality
    item: int
    """The how-manieth medium of its modality in the prompt, from 0."""
    fields: dict[str, tuple[float, ...]] = {}
    """Small numbers by name: ``grid`` (time, height, width in patches), ``second_per_grid``, frame
    indices and timestamps, as far as the model is given them."""
    arrays: tuple[str, ...] = ()
    """The names of its large arrays, ``pixel_values`` above all; each lies among the trace's tensors
    under ``tensor_name``."""
    note: str = ""
    """What a reader has to know of where it was taken: that an engine normalises on its device, say."""
    frame_sampling: FrameSampling | None = None
    """Of a video file that the side opened by itself, where it tells."""
    dtype: str = "float32"
    """The dtype in which the model is handed the arrays; they are kept as float32."""
    device_norm_bias: float | None = None
    """Where the engine itself normalises, ``pixel * weight + bias``: the largest absolute bias. None
    where it hands on what the processor made."""

    def tensor_name(self, array: str) -> str:
        """Where one of the arrays lies among the trace's tensors."""
        return f"media.{self.modality}.{self.item}.{array}"


class EncoderBudget(Record):
    """What an engine sets aside for the largest medium of a modality that it counts on."""

    modality: Modality
    tokens: int
    """Embedded positions."""
    medium: ImageRecipe | VideoRecipe | AudioRecipe
    """The medium itself; what it shows is of no account."""
    condition: str
    """What it was asked under, in words: the length of the longest sequence, say."""


class Environment(Record):
    """Where a trace was made: all that must be equal for it to be made again."""

    python: str
    platform: str
    device: str
    dtype: str
    packages: dict[str, str]
    """Distribution name to version."""
    settings: dict[str, str | int | float | bool | None] = {}
    """What the engine was told beyond its defaults."""
    workarounds: tuple[str, ...] = ()
    """What the harness had to do so that the engine runs here (a CPU redirection, say)."""


class Trace(Record):
    """All that one backend saw and produced for one case."""

    schema_version: int = TRACE_SCHEMA
    case: str
    case_digest: str
    model: str
    backend: str
    mode: str = DEFAULT_MODE
    """How the engine ran."""
    entry_point: EntryPoint = EntryPoint.CHAT
    """The API that the case went through."""
    mode_note: str = ""
    """How the mode went for this case: where the prompt was cut, how much of it was cached."""
    cached_tokens: int = 0
    """How many positions at the start of the prompt came from a prefix cache and were not run: the arrays
    have no row for them."""
    depth: Depth
    environment: Environment
    outcome: Outcome
    message: str = ""
    """The backend's own words where the outcome is not ``captured``."""
    prompt: str | None = None
    """The rendered text, before placeholders are expanded."""
    input_ids: tuple[int, ...] | None = None
    prompt_tokens: int | None = None
    """How many ids the prompt has, where the backend says that and not which: ``input_ids`` is None then."""
    spans: tuple[Span, ...] | None = None
    encoder_budget: EncoderBudget | None = None
    """Where the case holds the engine's largest medium; never the reference's."""
    media: tuple[MediaInput, ...] | None = None
    continuation: tuple[int, ...] | None = None
    """The tokens along which ``decode`` logits were taken: the reference's greedy ones."""
    greedy: tuple[int, ...] | None = None
    """Free-running tokens at temperature 0."""
    vocabulary: dict[int, str] = {}
    """The text of every id that occurs in the trace."""
    not_captured: dict[Stage, str] = {}
    """Why a stage is missing."""
    seconds: dict[str, float] = Field(default_factory=dict)

    def write(self, folder: Path, tensors: Mapping[str, np.ndarray] | None = None) -> None:
        """Writes the tensors, then the record: where the record is, all of the trace is."""
        (folder / RECORD_FILE).unlink(missing_ok=True)
        if tensors:
            write_safetensors(folder / ARRAY_FILE, tensors)
        write_record(folder / RECORD_FILE, self)


RECORD_FILE = "trace.json"
ARRAY_FILE = "tensors.safetensors"
"""``positions``: int64 [axes, prompt positions], what the rotary embedding is given, or float64 where it has
fractions. ``vision``: float32
[embedded positions, hidden], the media's features in the order of the spans. ``prefill``:
float32 [prompt positions, vocabulary]; ``decode``: float32 [new tokens - 1, vocabulary], row i being
the logits after ``continuation[:i + 1]``. Raw logits, not normalized. ``media.*``: see ``MediaInput``.
Where a server lists the log-probabilities of a few tokens instead, ``prefill`` and ``decode`` are missing,
and there are ``prefill.rows``: int64 [listed rows], which of the rows of ``prefill`` they stand for;
``prefill.ids``: int64 [listed rows, tokens], -1 where a row has fewer; ``prefill.logprobs``: float32, the
same; and so for ``decode``.
Where ``Trace.cached`` is not 0, ``positions``, ``vision`` and ``prefill`` begin behind those positions."""


def read_trace(folder: Path) -> Trace:
    """Reads the record of a trace.

    Raises:
        RecordError: the folder holds no complete trace.
    """
    return read_record(folder / RECORD_FILE, Trace)
