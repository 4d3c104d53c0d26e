"""A family: all checkpoints of one architecture, and how to build a tiny one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span


@dataclass(frozen=True)
class TowerInput:
    """What the vision tower is given of one medium; ``vlm_parity.schema.trace.MediaInput`` says what is in it."""

    fields: Mapping[str, tuple[float, ...]]
    arrays: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class MediumInfo:
    """What is known of a medium before any processor has seen it."""

    modality: Modality
    frames: int = 1
    """Of a video."""
    fps: float = 0.0
    """Of a video: frames a second; 0 where it is a file that nobody has opened yet."""
    has_audio_track: bool = False
    """Of a video: whether its sound is given, too; it then counts as the next sound of the conversation."""


class Family(ABC):
    """One architecture. Imports transformers and torch inside its methods only."""

    name: ClassVar[str]
    model_types: ClassVar[tuple[str, ...]]
    """The ``model_type`` of the configurations that belong to it."""
    modalities: ClassVar[tuple[Modality, ...]]
    special_ids: ClassVar[Mapping[str, int]]
    """Special tokens and the ids that the released tokenizers give them; the module says where from."""
    aliases: ClassVar[Mapping[str, str]] = {}
    """What engines call an array, to what the transformers processor calls it."""
    texts_as_parts: ClassVar[bool] = True
    """Whether its chat template is given a text as a list of one part, as transformers' documentation has
    it; some write the content of a turn as it is, and a list as Python would."""
    model_options: ClassVar[tuple[str, ...]] = ()
    """Which of ``processor_options`` the transformers model has to be told, too."""
    tunable: ClassVar[tuple[str, ...]] = ()
    """Which of ``ProcessorKwargs`` its transformers processor takes for a request."""
    packed_axes: ClassVar[Mapping[str, int]] = {}
    """The axis along which the arrays of several prompts lie behind each other, where it is not the first."""
    dtype: ClassVar[Literal["float32", "bfloat16"]] = "float32"
    """What its synthetic checkpoint is tested in if nothing else is asked for: float32, the sharpest,
    unless an engine's kernels for the architecture take bfloat16 only."""
    folder: ClassVar[str | None] = None
    """What the folder of its synthetic checkpoint is called, if not as the family: as the released one,
    where an engine reads the path. LMDeploy chooses among its own chat templates by it."""

    def matches_config(self, config: Mapping[str, Any]) -> bool:
        """Whether a checkpoint with this ``config.json`` is one of the family."""
        return config.get("model_type") in self.model_types

    @abstractmethod
    def build(self, folder: Path) -> None:
        """Writes a tiny synthetic checkpoint of the real architecture into an empty folder:
        the same bytes every time under the same library versions.
        """

    @abstractmethod
    def placeholder_ids(self, config: Mapping[str, Any]) -> dict[Modality, int]:
        """The id that stands for one embedded position, by modality, from ``config.json``."""

    @abstractmethod
    def spans(
        self,
        config: Mapping[str, Any],
        input_ids: Sequence[int],
        inputs: Mapping[str, Any],
        media: Sequence[MediumInfo],
    ) -> tuple[Span, ...]:
        """The positions that each medium's features go to, in the order of the prompt; see ``dealt``.

        Args:
            config: the content of ``config.json``.
            input_ids: the ids that the model is fed.
            inputs: what the transformers processor returned for the case.
            media: the case's, in the order of the conversation.
        """

    @abstractmethod
    def tower_inputs(
        self, config: Mapping[str, Any], inputs: Mapping[str, Any], spans: Sequence[Span]
    ) -> dict[Modality, list[TowerInput]]:
        """What the tower is given of each medium, in order, by modality.

        Args:
            config: the content of ``config.json``.
            inputs: what the transformers processor returned for the case, or what an engine made of one
                medium, under the same names (``aliases``); arrays or tensors on the CPU that numpy reads.
            spans: of the same media, for families whose arrays do not say where one ends.
        """

    def count_features(self, config: Mapping[str, Any], fields: Mapping[str, Sequence[float]]) -> int | None:
        """How many features the tower gives of a medium, one for each embedded position; None where its
        numbers do not tell.

        Args:
            config: the content of ``config.json``.
            fields: of its ``TowerInput``.
        """
        return None

    def processor_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The media as this family's transformers processor wants them beside the prompt.

        Args:
            arguments: ``images``, ``videos``, ``video_metadata``, ``audio`` and the like, each a flat list
                in the order of the conversation. Where videos are heard, ``audio`` has their sounds too, and
                ``audio_from_video_indices`` says of each sound which video it is of, or None.
        """
        return arguments

    def processor_options(self, media: Sequence[MediumInfo]) -> dict[str, Any]:
        """What the processor is told of the media beside them: more arguments in transformers,
        ``mm_processor_kwargs`` in an engine.

        Args:
            media: the case's, in the order of the conversation.
        """
        return {}

    def load_model(self, path: Path, **arguments: Any) -> Any:
        """The transformers model that answers, with its weights; see ``load_auto_model``."""
        return load_auto_model(path, **arguments)

    def empty_model(self, path: Path, **arguments: Any) -> Any:
        """The same without weights, on the device that is current: enough for positions."""
        return build_empty_auto_model(path, **arguments)

    def positions(self, model: Any, inputs: Mapping[str, Any]) -> np.ndarray:
        """What the model makes of the ids by itself: those of its rope index, else text positions.

        Args:
            model: the transformers model; it may lie on the device ``meta``.
            inputs: what the transformers processor returned for the case.

        Returns:
            int64 [axes, prompt positions]; float64 where the model has fractions.
        """
        return compute_rope_positions(model, inputs)

    def language_model(self, model: Any) -> Any:
        """The part of the transformers model whose first layer is given the merged features."""
        return model.get_decoder()


def spans_from_counts(
    input_ids: Sequence[int],
    placeholders: Mapping[Modality, int],
    counts: Mapping[Modality, Sequence[int]],
    modalities: Iterable[Modality],
) -> tuple[Span, ...]:
    """Deals the positions that hold a placeholder out to the media.

    Args:
        input_ids: the ids that the model is fed.
        placeholders: the id that stands for one embedded position; modalities may share one.
        counts: how many positions each medium takes, in order, by modality.
        modalities: of each medium, in the order of the conversation.
    """
    places = {
        token: iter([at for at, other in enumerate(input_ids) if other == token])
        for token in set(placeholders.values())
    }
    seen: Counter[Modality] = Counter()
    spans = []
    for modality in modalities:
        item = seen[modality]
        seen[modality] += 1
        if item < len(counts.get(modality, ())):
            taken = islice(places[placeholders[modality]], counts[modality][item])
            spans.append(Span.of(modality, item, taken))
    return tuple(sorted(spans, key=lambda span: span.offset))


def load_auto_model(path: Path, **arguments: Any) -> Any:
    """As ``Family.load_model``, for a model of whatever family.

    Args:
        path: the folder of the checkpoint.
        arguments: for ``from_pretrained``.
    """
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(path, **arguments)


def build_empty_auto_model(path: Path, **arguments: Any) -> Any:
    """As ``Family.empty_model``, for a model of whatever family."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    config = AutoConfig.from_pretrained(path, **arguments)
    return AutoModelForImageTextToText.from_config(config, **arguments)


def compute_rope_positions(model: Any, inputs: Mapping[str, Any]) -> np.ndarray:
    """As ``Family.positions``, for a model of whatever family."""
    # Before transformers 4.52 the rope index is the whole model's, and its base model is the text model.
    rope_index = getattr(model.base_model, "get_rope_index", getattr(model, "get_rope_index", None))
    if rope_index is None:
        return np.arange(inputs["input_ids"].shape[1], dtype=np.int64)[None]
    known = signature(rope_index).parameters
    positions, _ = rope_index(**{name: inputs[name] for name in known if name in inputs})
    array: np.ndarray = positions[:, 0].cpu().numpy()
    return array
