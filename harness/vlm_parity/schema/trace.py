"""A trace: all inputs and outputs of one backend for one case.

A trace is a folder with ``trace.json`` (the record) and ``tensors.safetensors`` (its arrays).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

import numpy as np

from vlm_parity.schema.case import Modality
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.engine_setup import DEFAULT_MODE, Depth, Dtype, EntryPoint
from vlm_parity.schema.media_source import AudioRecipe, ImageRecipe, VideoRecipe
from vlm_parity.schema.record import Count, Record, Seconds, read_record, write_record
from vlm_parity.schema.safetensors_file import write_safetensors

TRACE_SCHEMA = 12


class Stage(StrEnum):
    """Points of comparison, in the order in which data flows."""

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
"""The field of ``Trace`` that holds a stage; the other stages are arrays."""


class Outcome(StrEnum):
    """Outcome of the capture of one case."""

    CAPTURED = "captured"
    UNSUPPORTED = "unsupported"
    """The backend reports that it does not support this."""
    REFUSED = "refused"
    """The frontend of the backend raised an error for this input."""
    ERROR = "error"
    """The backend raised an error elsewhere: while loading or running."""
    CRASH = "crash"
    """The process of the backend crashed or hung."""
    INVALID = "invalid"
    """A medium of the case cannot be read, or the checkpoint changed: nothing follows about the backend."""
    HARNESS_ERROR = "harness_error"
    """The harness itself failed; nothing follows about the backend."""


class Span(Record):
    """The prompt positions that the features of one medium replace.

    Engines define the bounds differently (some include the timestamps between the frames of a video),
    so a span consists of the embedded positions alone.
    """

    modality: Modality
    item: Count
    """Index of the medium among those of its modality in the prompt, from 0."""
    runs: tuple[tuple[Count, Count], ...]
    """Half-open ranges of embedded positions, in order."""

    @classmethod
    def of(cls, modality: Modality, item: int, positions: Iterable[int]) -> Span:
        """Build a span from its embedded positions, in any order."""
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
        """Number of positions from the first embedded one to the last, inclusive."""
        return self.runs[-1][1] - self.offset if self.runs else 0

    @property
    def embedded(self) -> int:
        """Number of embedded positions."""
        return sum(stop - start for start, stop in self.runs)


class FrameSampling(Record):
    """The frames that a side sampled from a video file.

    It is evidence for the diagnosis only; the resulting media are compared.
    """

    decoder: str
    """The library that decoded the file: ``pyav``, ``opencv``."""
    total: Count
    """Number of frames in the file, according to the decoder."""
    fps: float
    """Frames per second, according to the decoder."""
    indices: tuple[Count, ...]
    """Indices of the sampled frames in the file."""

    @property
    def description(self) -> str:
        """Description of the sampled frames: ``frames 0, 12, 24, 36 of 48``."""
        if len(self.indices) == self.total and self.indices == tuple(range(self.total)):
            return f"all of {self.total} frames"
        return f"frames {', '.join(map(str, self.indices))} of {self.total}"

    @property
    def timestamps(self) -> tuple[float, ...]:
        """Start of each sampled frame in seconds, at a constant rate."""
        return tuple(index / self.fps for index in self.indices) if self.fps else ()


class MediaInput(Record):
    """One medium as input of the vision or audio tower."""

    modality: Modality
    item: Count
    """Index of the medium among those of its modality in the prompt, from 0."""
    fields: dict[str, tuple[float, ...]] = {}
    """Small values by name: ``grid`` (time, height, width in patches), ``second_per_grid``, frame
    indices and timestamps, as far as the model receives them."""
    arrays: tuple[str, ...] = ()
    """Names of its large arrays, such as ``pixel_values``, which the trace stores under ``tensor_name``."""
    note: str = ""
    """A remark on the point of capture, for instance if the engine normalizes on its device."""
    frame_sampling: FrameSampling | None = None
    """For a video file that the side decoded itself, if it reports its sampling."""
    dtype: str = "float32"
    """The dtype in which the model receives the arrays; they are stored as float32."""
    device_norm_bias: float | None = None
    """The largest absolute bias, if the engine itself normalizes by ``pixel * weight + bias``; None if the
    model receives the output of the processor."""

    def tensor_name(self, array: str) -> str:
        """Return the name under which the trace stores one of the arrays."""
        return f"media.{self.modality}.{self.item}.{array}"


class EncoderBudget(Record):
    """Positions that an engine reserves for its largest medium of a modality."""

    modality: Modality
    tokens: Count
    """Embedded positions."""
    medium: ImageRecipe | VideoRecipe | AudioRecipe
    """The medium; its content does not matter."""
    condition: str
    """The settings that the budget depends on, such as the length of the longest sequence."""


class Environment(Record):
    """All that has to be equal for a trace to be reproduced."""

    python: str
    platform: str
    device: str
    dtype: Dtype
    packages: dict[str, str]
    """Versions by distribution name."""
    settings: dict[str, str | int | float | bool | None] = {}
    """Engine arguments other than its defaults."""
    workarounds: tuple[str, ...] = ()
    """Changes by the harness that the engine needs to run here, such as a redirection to the CPU."""


class Trace(Record):
    """All inputs and outputs of one backend for one case."""

    schema_version: int = TRACE_SCHEMA
    case: str
    case_digest: str
    model: str
    backend: str
    mode: str = DEFAULT_MODE
    """The mode in which the engine ran."""
    entry_point: EntryPoint = EntryPoint.CHAT
    """The API that received the case."""
    mode_note: str = ""
    """Evidence that the mode applied to this case: the chunks of the prompt, the number of cached
    positions."""
    cached_tokens: Count = 0
    """Number of positions at the start of the prompt that came from a prefix cache: the arrays have no rows
    for them."""
    depth: Depth
    environment: Environment
    outcome: Outcome
    message: str = ""
    """The backend's message if the outcome is not ``captured``."""
    prompt: str | None = None
    """The rendered text, before placeholders are expanded."""
    changed_prompts: dict[str, str] = {}
    """Prompts that the reference's template renders of the conversation after changes that engines make, by
    the changes (``PromptChange``, joined by ``SEPARATOR``, and a number if there are several forms)."""
    input_ids: tuple[int, ...] | None = None
    prompt_tokens: Count | None = None
    """Number of ids of the prompt, if the backend reports only that: ``input_ids`` is None then."""
    spans: tuple[Span, ...] | None = None
    max_size_modality: Modality | None = None
    """The modality of the case's ``max_size`` medium, whose size the engine determines; None for the
    reference, which gets a case of that size."""
    encoder_budget: EncoderBudget | None = None
    """The engine's budget, if the case has a ``max_size`` medium; None for the reference."""
    media: tuple[MediaInput, ...] | None = None
    transparent_images: tuple[Count, ...] = ()
    """Indices, among the images of the case, of those with an alpha channel or a transparent color."""
    continuation: tuple[int, ...] | None = None
    """The forced tokens of ``decode``: the reference's greedy tokens."""
    greedy: tuple[int, ...] | None = None
    """Free-running tokens at temperature 0."""
    vocabulary: dict[int, str] = {}
    """The text of every id in the trace."""
    not_captured: dict[Stage, str] = {}
    """Reasons for missing stages. A captured trace has every stage of its depth, or the reason here."""
    arrays: tuple[str, ...] = ()
    """Names of its arrays: a trace that lacks one of them is not compared."""
    seconds: dict[str, Seconds] = {}
    condition: Condition | None = None
    """Values of the reference that the engine was given; None if it ran on its own."""
    deep_levels: Count = 0
    """Number of deeper layers to which the language model adds media features (Qwen3-VL's deepstack)."""

    def write(self, folder: Path, tensors: Mapping[str, np.ndarray] | None = None) -> None:
        """Write the arrays, then the record: if the record exists, the trace is complete.

        Raises:
            ValueError: the record names other arrays than ``tensors`` holds; None leaves those in the folder.
        """
        if tensors is not None and sorted(tensors) != sorted(self.arrays):
            raise ValueError(f"the record names {sorted(self.arrays)}, the arrays are {sorted(tensors)}")
        (folder / RECORD_FILE).unlink(missing_ok=True)
        if tensors:
            write_safetensors(folder / ARRAY_FILE, tensors)
        write_record(folder / RECORD_FILE, self)


RECORD_FILE = "trace.json"
DECODE_POSITIONS = "positions.decode"
ARRAY_FILE = "tensors.safetensors"
"""The arrays of a trace:

- ``positions``: int64 [axes, prompt positions], inputs of the rotary embedding; float64 if any is a fraction
- ``positions.decode``: int64 [axes, new tokens - 1], those of the decoding steps along ``continuation``
- ``vision``: float32 [embedded positions, hidden * (1 + deep levels)], features of the media in the order of
the spans, those that the language model adds to deeper layers behind those that are merged -
``prefill``: float32 [prompt positions, vocabulary], raw logits - ``decode``: float32 [new tokens - 1,
vocabulary], raw logits; row i follows ``continuation[:i + 1]`` - ``media.*``: see ``MediaInput``

If a server reports the log-probabilities of a few tokens only, these replace ``prefill`` (likewise
``decode``):

- ``prefill.rows``: int64 [listed rows], their indices among the rows of ``prefill`` - ``prefill.ids``: int64
[listed rows, tokens], padded with -1 - ``prefill.logprobs``: float32, of the same shape

``positions``, ``vision`` and ``prefill`` omit the first ``Trace.cached_tokens`` positions.
"""


def read_trace(folder: Path) -> Trace:
    """Read the record of a trace.

    Raises:
        RecordError: the folder does not hold a complete trace.
    """
    return read_record(folder / RECORD_FILE, Trace)
