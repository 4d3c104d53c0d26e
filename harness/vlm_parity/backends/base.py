"""The interface of a backend: one engine, the reference included.

A backend lives in a child process of its own (``vlm_parity.capture``). It is loaded once and then receives
one case after the other: ``inputs`` preprocesses a case, and at depth ``logits`` ``outputs`` runs the model
on it.

Example:
    A backend for an engine called ``acme`` that is supported at depth ``tokens``::

        class AcmeBackend(Backend):
            name = "acme"
            engine = "acme"
            packages = ("acme", "transformers", "torch")

            def load(self, checkpoint):
                from acme import Processor

                self._processor = Processor(checkpoint.path)

            def inputs(self, request):
                prompt, ids = self._processor.render(request.case, request.media)
                reason = {Stage.SPANS: "acme does not report them"}
                return Inputs(prompt, tuple(ids), spans=None, not_captured=reason)

            def outputs(self, inputs, continuation, new_tokens):
                raise UnsupportedError("acme is supported at depth tokens only")

            def decode_token_texts(self, ids):
                return {token: self._processor.decode([token]) for token in ids}

    It is registered under the entry point group ``vlm_parity.backends`` of its own distribution; see
    ``docs/guides/add_a_backend.md``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vlm_parity.media.load import Media
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case, Modality
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.engine_setup import DEFAULT_MODE, Depth, Device, Dtype, EntryPoint
from vlm_parity.schema.location import Location
from vlm_parity.schema.trace import EncoderBudget, FrameSampling, MediaInput, Span, Stage
from vlm_parity.util.errors import UnsupportedError


@dataclass(frozen=True)
class Settings:
    """Device, dtype, depth and arguments with which a backend loads its engine."""

    device: Device = "cpu"
    dtype: Dtype = "float32"
    depth: Depth = Depth.LOGITS
    max_length: int = 4096
    """Maximum length of a sequence, prompt and continuation, in tokens."""
    engine_args: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the engine's constructor that the user set; they override those of the backend."""
    mode: str = DEFAULT_MODE
    """``default`` or one of ``Backend.modes``."""


@dataclass(frozen=True)
class Request:
    """A case with its loaded media and the entry point to use."""

    case: Case
    media: tuple[Media, ...]
    """In the order of the conversation."""
    entry_point: EntryPoint = EntryPoint.CHAT
    """``chat`` or one of ``Backend.entry_points``."""
    batch_with: tuple[Request, ...] = ()
    """Requests to pass to the engine's chat path in the same call, after this one. Empty unless
    ``Backend.supports_batched_chat`` is set."""


@dataclass(frozen=True)
class CapturedMedium:
    """The vision or audio tower inputs of one medium, stored as ``vlm_parity.schema.trace.MediaInput``."""

    modality: Modality
    item: int
    """Index among the media of its modality, from 0."""
    fields: Mapping[str, tuple[float, ...]]
    """Small numbers by name, such as ``grid``."""
    arrays: Mapping[str, np.ndarray]
    """``pixel_values``: float32 [patches, values of a patch] if the tower takes patches, otherwise
    [..., channels, height, width]. ``input_features``: float32 [mel frames, mel bins]."""
    note: str = ""
    """Remark for the report on how the arrays were obtained."""
    dtype: str = "float32"
    """Dtype of the arrays in the engine, before they were converted to float32."""
    device_norm_bias: float | None = None
    """Largest absolute bias of ``pixel * weight + bias`` if the engine normalizes on its device."""
    frame_sampling: FrameSampling | None = None
    """Frames selected from a video file; None for other media."""

    def build_record(self) -> MediaInput:
        """Return the record for the trace: all but the arrays themselves."""
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
    """The preprocessed form of one case, as the model receives it."""

    prompt: str | None
    """The rendered prompt; None if the engine does not expose it (``not_captured`` holds the reason)."""
    input_ids: tuple[int, ...]
    """Placeholders expanded. Empty if the engine reports only ``prompt_tokens``."""
    spans: tuple[Span, ...] | None
    """In the order of the prompt; None if ``not_captured`` holds the reason."""
    prepared: Any = None
    """The engine's own form of the request; ``outputs`` receives it back."""
    positions: np.ndarray | None = None
    """Arguments of the rotary embedding: int64 [axes, prompt positions], one axis for text positions, three
    for mrope (time, height, width); float64 if they have fractions."""
    media: tuple[CapturedMedium, ...] | None = None
    """In the order of the spans."""
    prompt_tokens: int | None = None
    """Length of the prompt in ids, if the engine reports only that and not the ids."""
    not_captured: dict[Stage, str] = field(default_factory=dict)
    """Reasons by stage that this engine does not expose."""
    changed_prompts: Mapping[str, str] = field(default_factory=dict)
    """Of the reference: see ``Trace.changed_prompts``."""
    decoy: Any = None
    """The engine's own form of the same conversation with other media of the same sizes, for mode
    ``prefix_cached``; None if there is none."""


@dataclass(frozen=True)
class ReferenceValues:
    """Values of the reference on one case, for an engine that runs on them in place of its own."""

    input_ids: tuple[int, ...]
    spans: tuple[Span, ...]
    positions: np.ndarray
    """As in ``Inputs``."""
    decode_positions: np.ndarray | None
    """As in ``Outputs``."""
    features: np.ndarray | None
    """float32 [embedded positions, hidden * (1 + deep levels)], in the order of the spans; None without
    media."""
    deep_levels: int
    """As in ``Outputs``."""
    media: tuple[CapturedMedium, ...]


@dataclass(frozen=True)
class TopLogprobs:
    """Log-probabilities of the most likely tokens at some positions, as servers list them."""

    rows: np.ndarray
    """int64 [positions]: the rows of the stage's logits to which they belong, ascending."""
    ids: np.ndarray
    """int64 [positions, listed tokens]; -1 pads positions with fewer tokens."""
    logprobs: np.ndarray
    """float32 [positions, listed tokens]; NaN where ``ids`` is -1."""


@dataclass(frozen=True)
class Outputs:
    """The results of running the model on one case; logits are raw (before temperature), float32."""

    prefill: np.ndarray | None
    """[prompt positions without the cached ones, vocabulary]; None if ``top_logprobs`` or ``not_captured``
    replaces it."""
    decode: np.ndarray | None
    """[len(continuation) - 1, vocabulary]: row i follows ``continuation[:i + 1]``, computed through the KV
    cache. None as for ``prefill``."""
    continuation: tuple[int, ...]
    """The ids along which ``decode`` was computed."""
    greedy: tuple[int, ...]
    """Free-running ids at temperature 0."""
    positions: np.ndarray | None = None
    """As in ``Inputs``, for engines that compute them only while they run."""
    embeddings: np.ndarray | None = None
    """float32 [prompt positions without the cached ones, hidden * (1 + deep levels)]: inputs of the language
    model's first layer, the media features merged in, followed by those that are added to deeper layers. The
    rows inside spans are compared at stage ``vision``."""
    deep_levels: int = 0
    """Number of deeper layers to which the language model adds media features (Qwen3-VL's deepstack)."""
    decode_positions: np.ndarray | None = None
    """As ``positions``, of the steps of ``decode``: int64 [axes, len(continuation) - 1]. None if they follow
    from the number of positions alone, or are not exposed."""
    cached_tokens: int = 0
    """Number of positions at the start of the prompt that came from a prefix cache and were not run:
    ``prefill``, ``positions`` and ``embeddings`` begin after them."""
    mode_note: str = ""
    """Evidence that the mode took effect, such as the positions at which the prompt was split."""
    top_logprobs: Mapping[Stage, TopLogprobs] = field(default_factory=dict)
    """Replacement for ``prefill`` and ``decode`` if the engine does not expose full logits."""
    not_captured: dict[Stage, str] = field(default_factory=dict)
    """As in ``Inputs``."""


class Backend(ABC):
    """One engine, loaded once for many cases. Subclasses import their engine inside methods only."""

    name: ClassVar[str]
    """Name on the command line and in reports."""
    engine: ClassVar[str]
    """Top-level module of the engine: the backend is available if it can be imported."""
    packages: ClassVar[tuple[str, ...]]
    """Distributions whose versions are recorded in every trace; missing ones are left out."""

    tensor_parallel: ClassVar[str] = "tensor_parallel_size"
    """Engine argument for the number of GPUs that share a model; empty if only one is supported."""

    modes: ClassVar[Mapping[str, str]] = {}
    """Modes beyond ``default``: name to description."""
    entry_points: ClassVar[Mapping[EntryPoint, str]] = {}
    """Entry points beyond ``chat``, with their descriptions."""
    server_target: ClassVar[str] = ""
    """``module:Class`` of the backend for the entry point ``server``; empty if there is none."""

    conditions: ClassVar[frozenset[Condition]] = frozenset()
    """Conditions under which the engine can run."""
    supports_batched_chat: ClassVar[bool] = False
    """True if one call of the engine's chat path takes several conversations."""

    def __init__(self, settings: Settings) -> None:
        """Store the settings; ``load`` does the work.

        Args:
            settings: device, dtype, depth and arguments of the engine.
        """
        self.settings = settings
        self.workarounds: list[str] = []
        """Changes by the harness that let the engine run here, a sentence each; shown in the report."""
        self.applied_engine_args: dict[str, Any] = {}
        """Engine arguments that differ from the engine's defaults; shown in the report."""

    @abstractmethod
    def load(self, checkpoint: Checkpoint) -> None:
        """Load the frontend (processor, tokenizer) at depth ``tokens``, the whole engine at depth ``logits``.

        Raises:
            UnsupportedError: the engine does not support the architecture.
        """

    @classmethod
    def build_call(cls, request: Request, processor_kwargs: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG003
        """Return the arguments with which ``inputs`` calls the engine's chat API, without the engine.

        Args:
            request: for the entry point ``chat``, or ``server`` of a backend that has one.
            processor_kwargs: those of the case and of the model's family.

        Raises:
            UnsupportedError: the API has no parameter for what the case asks, or this backend does not say
                what it passes.
        """
        raise UnsupportedError(f"{cls.name}: this backend does not say what it passes")

    @abstractmethod
    def inputs(self, request: Request) -> Inputs:
        """Preprocess one case through the request's entry point.

        Raises:
            UnsupportedError: the engine does not support this kind of case. Any other exception counts as
                a refusal of the case by the engine.
        """

    @abstractmethod
    def outputs(self, inputs: Inputs, continuation: tuple[int, ...] | None, new_tokens: int) -> Outputs:
        """Run the engine on preprocessed inputs; called at depth ``logits`` only.

        Args:
            inputs: a result of ``inputs``.
            continuation: ids along which to compute the decode logits; None, for the reference only, for its
                own greedy ids.
            new_tokens: number of free-running ids to generate at temperature 0, ignoring the end of sequence.

        Raises:
            ModeNotApplicableError: the mode has no effect on this prompt.
            EngineError: the engine reported a failure; it can run further cases.
            EngineCrashedError: the engine can run no further cases.
        """

    def condition(
        self, inputs: Inputs, condition: Condition, values: ReferenceValues
    ) -> AbstractContextManager[Inputs]:
        """Let the engine run on values of the reference while the block runs.

        Args:
            inputs: the engine's own, from ``inputs``.
            condition: what is given, one of ``conditions``.
            values: of the reference.

        Returns:
            A context manager of the inputs to pass to ``outputs``. At depth ``tokens``, nothing runs on them:
            they have the positions that the frontend computes from the given values.

        Raises:
            UnsupportedError: this engine cannot be given these values.
        """
        raise UnsupportedError(f"{self.name} cannot be given {condition.description}")

    def record_modules(self, folder: Path, inputs: Inputs, within: str = "") -> AbstractContextManager[None]:
        """Record the calls of the model's modules in the next call of ``outputs``, while a block runs.

        Args:
            folder: for the recorded calls, see ``vlm_parity.schema.module_calls``; written as the block ends.
            inputs: those on which the engine will run.
            within: the only block of the model whose modules are recorded; empty for all, if they fit.

        Raises:
            UnsupportedError: this engine does not expose its modules.
        """
        raise UnsupportedError(f"{self.name} does not expose the modules of its model")

    @abstractmethod
    def decode_token_texts(self, ids: Iterable[int]) -> dict[int, str]:
        """Return the text of each id by the backend's own tokenizer; unknown ids may be left out."""

    def measure_encoder_budget(self, modality: Modality) -> EncoderBudget:
        """Return the encoder budget of a modality under the engine's default limits, and its largest medium.

        Raises:
            UnsupportedError: the engine reserves nothing by the size of media, or not for this modality.
        """
        raise UnsupportedError(f"{self.name} does not report an encoder budget for {modality}")

    def close(self) -> None:
        """Release the engine; the child process ends right after."""


class ReferenceBackend(Backend):
    """The backend that all others are compared with; it can also measure its own noise."""

    def locate(
        self, inputs: Inputs, folder: Path, continuation: tuple[int, ...], within: str = ""
    ) -> Location:
        """Compare the modules of an engine with those of the reference.

        Args:
            inputs: a result of ``inputs``.
            folder: the calls that ``record_modules`` of the engine's backend has recorded.
            continuation: ids to follow; the decoding steps of all but the last are compared, too.
            within: the reference's name of the only block whose modules were recorded; empty for all.

        Raises:
            UnsupportedError: the engine ran on another prompt, or this reference exposes no modules.
        """
        raise UnsupportedError(f"{self.name} does not expose the modules of its model")

    @abstractmethod
    def samples(
        self, inputs: Inputs, continuation: tuple[int, ...], dtype: Dtype
    ) -> Iterator[tuple[str, Outputs]]:
        """Yield the outputs of several equally valid computations of one case, each with its name.

        Args:
            inputs: a result of ``inputs``.
            continuation: ids along which to compute the decode logits.
            dtype: dtype of weights and computation.
        """
