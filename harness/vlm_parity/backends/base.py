"""The interface behind which every engine sits, the reference included.

A backend lives in a child process of its own (``vlm_parity.capture.child``). It is loaded once, then
asked for one case after the other: first what the model is fed (``inputs``), then, at ``logits``
depth, what it answers (``outputs``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from vlm_parity.media.load import Media
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case, Modality
from vlm_parity.schema.engine_setup import DEFAULT_MODE, EntryPoint
from vlm_parity.schema.trace import Depth, EncoderBudget, FrameSampling, MediaInput, Span, Stage
from vlm_parity.util.errors import UnsupportedError

Device = Literal["cpu", "cuda"]
Dtype = Literal["float64", "float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Settings:
    """How an engine is to be run."""

    device: Device = "cpu"
    dtype: Dtype = "float32"
    depth: Depth = Depth.LOGITS
    max_length: int = 4096
    """The longest sequence, prompt and continuation, in tokens."""
    engine_args: Mapping[str, Any] = field(default_factory=dict)
    """What the user wants to be told to the engine's constructor, over the backend's choices."""
    mode: str = DEFAULT_MODE
    """``default`` or one of ``Backend.modes``."""


@dataclass(frozen=True)
class Request:
    """A case with its media, in the order of the conversation."""

    case: Case
    media: tuple[Media, ...]
    entry_point: EntryPoint = EntryPoint.CHAT
    """The API that the case goes through: ``chat`` or one of ``Backend.entry_points``."""
    batch_with: tuple[Request, ...] = ()
    """Requests that go into the engine's chat path in the same call, behind this one; empty where the backend
    does not take several."""


@dataclass(frozen=True)
class CapturedMedium:
    """One medium as it enters the vision tower; ``vlm_parity.schema.trace.MediaInput`` is its record."""

    modality: Modality
    item: int
    fields: Mapping[str, tuple[float, ...]]
    arrays: Mapping[str, np.ndarray]
    """``pixel_values`` is float32 [patches, values of a patch] where the tower takes patches,
    ``input_features`` float32 [mel frames, mel bins] of a sound."""
    note: str = ""
    dtype: str = "float32"
    device_norm_bias: float | None = None
    frame_sampling: FrameSampling | None = None

    def record(self) -> MediaInput:
        """What a trace says of it."""
        return MediaInput(
            modality=self.modality,
            item=self.item,
            fields=dict(self.fields),
            arrays=tuple(self.arrays),
            note=self.note,
            dtype=self.dtype,
            device_norm_bias=self.device_norm_bias,
            frame_sampling=self.frame_sampling,
        )


@dataclass(frozen=True)
class Inputs:
    """What the model is fed for one case."""

    prompt: str | None
    input_ids: tuple[int, ...]
    """Empty where ``prompt_tokens`` is all that is shown."""
    spans: tuple[Span, ...] | None
    prepared: Any = None
    """The engine's own form of the request, handed back to ``outputs``."""
    positions: np.ndarray | None = None
    """int64 [axes, prompt positions]: what the rotary embedding is given, one axis for text positions,
    three for mrope (time, height, width); float64 where they have fractions."""
    media: tuple[CapturedMedium, ...] | None = None
    """In the order of the spans."""
    prompt_tokens: int | None = None
    """How many ids the prompt has, where an engine says that and not which."""
    not_captured: dict[Stage, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TopLogprobs:
    """The log-probabilities of a few tokens at some positions: what a server lists of logits."""

    rows: np.ndarray
    """int64 [positions]: which rows of the stage's logits they are of, in order."""
    ids: np.ndarray
    """int64 [positions, most tokens]; -1 where a position has fewer."""
    logprobs: np.ndarray
    """float32 [positions, most tokens]; NaN where there is no id."""


@dataclass(frozen=True)
class Outputs:
    """What the model answers. Logits are raw (before temperature), float32, on the CPU."""

    prefill: np.ndarray | None
    """[prompt positions but for the cached ones, vocabulary]; None where ``not_captured`` says why, and
    where they are ``listed``."""
    decode: np.ndarray | None
    """[new tokens - 1, vocabulary]: row i follows ``continuation[:i + 1]``, through the KV cache. None as
    ``prefill`` is."""
    continuation: tuple[int, ...]
    greedy: tuple[int, ...]
    positions: np.ndarray | None = None
    """As in ``Inputs``, where the engine has to run before they can be seen."""
    embeddings: np.ndarray | None = None
    """float32 [prompt positions, hidden]: what the language model's first layer is given, the media's
    features merged in. Its rows inside the spans are compared as the stage ``vision``."""
    cached_tokens: int = 0
    """How many positions at the start of the prompt were read from a prefix cache, not run: ``prefill``,
    ``positions`` and ``embeddings`` begin behind them."""
    mode_note: str = ""
    """How the mode went for this request, such as the positions at which its prompt was cut."""
    top_logprobs: Mapping[Stage, TopLogprobs] = field(default_factory=dict)
    """What stands for ``prefill`` and ``decode`` where the engine does not give them in full."""
    not_captured: dict[Stage, str] = field(default_factory=dict)


class Backend(ABC):
    """One engine, loaded once, asked for many cases. Imports its engine inside its methods only."""

    name: ClassVar[str]
    engine: ClassVar[str]
    """The top-level module of the engine: where it can be imported, the backend can be used."""
    packages: ClassVar[tuple[str, ...]]
    """The distributions whose versions belong into the environment of a trace."""

    tensor_parallel: ClassVar[str] = "tensor_parallel_size"
    """The engine's argument for the number of GPUs that share a model; empty where it takes one only."""

    modes: ClassVar[Mapping[str, str]] = {}
    """Modes beyond ``default``, by name, each described in a sentence."""
    entry_points: ClassVar[Mapping[EntryPoint, str]] = {}
    """Entry points beyond ``chat``, each described in a sentence."""
    server_target: ClassVar[str] = ""
    """``module:Class`` of the backend for the entry point ``server``; empty if the harness starts no server of
    this engine."""

    supports_batched_chat: ClassVar[bool] = False
    """Whether one call of the engine's chat path takes several conversations."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.workarounds: list[str] = []
        """What the harness had to do so that the engine runs here; shown in the report."""
        self.applied_engine_args: dict[str, Any] = {}
        """What the engine was told beyond its defaults; shown in the report."""

    @abstractmethod
    def load(self, checkpoint: Checkpoint) -> None:
        """Makes ready for cases: the front end at ``tokens`` depth, the whole engine at ``logits``.

        Raises:
            UnsupportedError: the engine has no such architecture.
        """

    @abstractmethod
    def inputs(self, request: Request) -> Inputs:
        """Renders one case by the engine's own chat path, or by the request's way in.

        Raises:
            UnsupportedError: the engine does not serve this kind of case. Anything else that it
                raises counts as its refusal of the case.
        """

    @abstractmethod
    def outputs(self, inputs: Inputs, continuation: tuple[int, ...] | None, new_tokens: int) -> Outputs:
        """Runs the engine on what ``inputs`` gave: all prompt logits, then the logits along
        ``continuation`` (None, for the reference: along its own greedy tokens), then
        ``new_tokens`` free-running ones at temperature 0, end of sequence ignored.
        """

    @abstractmethod
    def decode_token_texts(self, ids: Iterable[int]) -> dict[int, str]:
        """The text of each id, by the backend's own tokenizer."""

    def measure_encoder_budget(self, modality: Modality) -> EncoderBudget:
        """What the engine sets aside for the largest medium of a modality, as it would for a user who leaves
        its limits as they are, and that medium.

        Raises:
            UnsupportedError: it reserves nothing by the size of media, or not for this modality.
        """
        raise UnsupportedError(f"{self.name} names no largest {modality} that it reserves for")

    def close(self) -> None:
        """Lets the engine go; the child process ends right after."""


class ReferenceBackend(Backend):
    """What all others are measured against: it knows its own noise."""

    @abstractmethod
    def samples(
        self, inputs: Inputs, continuation: tuple[int, ...], dtype: Dtype
    ) -> Iterator[tuple[str, Outputs]]:
        """The same request computed in ``dtype`` in several equally right ways, each with its name.

        Each gives all prompt logits, and those along ``continuation``.
        """


DTYPES = ("float32", "bfloat16", "float16")
