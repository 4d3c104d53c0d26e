"""The interface of model families, and helpers for their spans and vision tower inputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
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
    """Vision tower inputs of one medium; see ``vlm_parity.schema.trace.MediaInput``."""

    fields: Mapping[str, tuple[float, ...]]
    arrays: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class MediumInfo:
    """Properties of a medium that are known before any processor has seen it."""

    modality: Modality
    frames: int = 1
    """Frames of a video."""
    fps: float = 0.0
    """Frames a second of a video; 0 for a file that has not been opened yet."""
    has_audio_track: bool = False
    """True for a video whose audio is passed as well; it counts as the next audio of the conversation."""


class Family(ABC):
    """All checkpoints of one architecture, with a builder for a tiny one.

    Subclasses import transformers and torch inside methods only.
    """

    name: ClassVar[str]
    model_types: ClassVar[tuple[str, ...]]
    """Values of ``model_type`` in the configurations of the family."""
    modalities: ClassVar[tuple[Modality, ...]]
    special_ids: ClassVar[Mapping[str, int]]
    """Special tokens and their ids in the released tokenizers; the module states the source."""
    array_aliases: ClassVar[Mapping[str, str]] = {}
    """An engine's name of an array, to its name in the output of the transformers processor."""
    texts_as_parts: ClassVar[bool] = True
    """False if the chat template writes the content of a turn as it is, and a list of parts as Python's
    ``repr``; otherwise a text is passed as a list of one part, as in the documentation of transformers."""
    model_options: ClassVar[tuple[str, ...]] = ()
    """Names of the ``get_processor_options`` that the transformers model needs, too."""
    supported_kwargs: ClassVar[tuple[str, ...]] = ()
    """Fields of ``ProcessorKwargs`` that the transformers processor accepts for a request."""
    packed_axes: ClassVar[Mapping[str, int]] = {}
    """The axis along which arrays of several prompts are concatenated, if it is not the first."""
    dtype: ClassVar[Literal["float32", "bfloat16"]] = "float32"
    """The default dtype for tests of its synthetic checkpoint: float32, the sharpest, unless an engine's
    kernels for the architecture accept only bfloat16."""
    folder: ClassVar[str | None] = None
    """The folder name of its synthetic checkpoint, if not the family's: that of the released one, for
    engines that read the path. LMDeploy selects one of its own chat templates by it."""

    def matches_config(self, config: Mapping[str, Any]) -> bool:
        """Return True if a checkpoint with this ``config.json`` belongs to the family."""
        return config.get("model_type") in self.model_types

    @abstractmethod
    def build(self, folder: Path) -> None:
        """Write a tiny synthetic checkpoint of the real architecture into an empty folder.

        The bytes are the same every time under the same library versions.
        """

    @abstractmethod
    def get_placeholder_ids(self, config: Mapping[str, Any]) -> dict[Modality, int]:
        """Return the placeholder id of an embedded position, by modality.

        Args:
            config: the content of ``config.json``.
        """

    @abstractmethod
    def locate_spans(
        self,
        config: Mapping[str, Any],
        input_ids: Sequence[int],
        inputs: Mapping[str, Any],
        media: Sequence[MediumInfo],
    ) -> tuple[Span, ...]:
        """Return the positions that each medium's features replace, in the order of the prompt.

        ``assign_spans`` derives them from the number of features of each medium.

        Args:
            config: the content of ``config.json``.
            input_ids: the ids passed to the model.
            inputs: the output of the transformers processor for the case.
            media: the media of the case, in the order of the conversation.
        """

    @abstractmethod
    def split_tower_inputs(
        self, config: Mapping[str, Any], inputs: Mapping[str, Any], spans: Sequence[Span]
    ) -> dict[Modality, list[TowerInput]]:
        """Split the processor's arrays into the vision tower inputs of each medium.

        Args:
            config: the content of ``config.json``.
            inputs: the output of the transformers processor for the case, or an engine's arrays for one
                medium, under the same names (``array_aliases``); arrays, or tensors on the CPU.
            spans: the spans of the same media, for families whose arrays do not show where one ends.

        Returns:
            The inputs by modality, in the order of the conversation.
        """

    def count_features(self, config: Mapping[str, Any], fields: Mapping[str, Sequence[float]]) -> int | None:
        """Return the number of features of a medium, one for each embedded position.

        Args:
            config: the content of ``config.json``.
            fields: the fields of its ``TowerInput``.

        Returns:
            None if the fields do not determine it.
        """
        return None

    def adapt_processor_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Adapt the media arguments to this family's transformers processor.

        Args:
            arguments: ``images``, ``videos``, ``video_metadata``, ``audio`` and the like, each a flat list
                in the order of the conversation. If audio tracks of videos are passed, ``audio`` contains
                them, and ``audio_from_video_indices`` maps each audio to its video, or to None.
        """
        return arguments

    def get_processor_options(self, media: Sequence[MediumInfo]) -> dict[str, Any]:
        """Return the options about the media that the processor needs besides the media themselves.

        They are keyword arguments in transformers and ``mm_processor_kwargs`` in an engine.

        Args:
            media: the media of the case, in the order of the conversation.
        """
        return {}

    def load_model(self, path: Path, **arguments: Any) -> Any:
        """Load the transformers model with its weights; see ``load_auto_model``."""
        return load_auto_model(path, **arguments)

    def build_empty_model(self, path: Path, **arguments: Any) -> Any:
        """Build the transformers model without weights, on the current device: enough for positions."""
        return build_empty_auto_model(path, **arguments)

    def compute_positions(self, model: Any, inputs: Mapping[str, Any]) -> np.ndarray:
        """Compute the position ids that the model derives from the ids: of its rope index, or text positions.

        Args:
            model: the transformers model; it may be on the device ``meta``.
            inputs: the output of the transformers processor for the case.

        Returns:
            int64 [axes, prompt positions]; float64 if the model has fractional positions.
        """
        return compute_rope_positions(model, inputs)

    def get_language_model(self, model: Any) -> Any:
        """Return the part of the transformers model whose first layer receives the merged features."""
        return model.get_decoder()


def assign_spans(
    input_ids: Sequence[int],
    placeholders: Mapping[Modality, int],
    counts: Mapping[Modality, Sequence[int]],
    media: Sequence[MediumInfo],
) -> tuple[Span, ...]:
    """Assign the positions that hold a placeholder to the media, in order.

    Args:
        input_ids: the ids passed to the model.
        placeholders: the id of an embedded position, by modality; modalities may share one.
        counts: the number of positions of each medium, in order, by modality.
        media: the media of the case, in the order of the conversation.
    """
    positions = {
        placeholder: iter([position for position, token in enumerate(input_ids) if token == placeholder])
        for placeholder in set(placeholders.values())
    }
    seen: Counter[Modality] = Counter()
    spans = []
    for modality in (medium.modality for medium in media):
        item = seen[modality]
        seen[modality] += 1
        if item < len(counts.get(modality, ())):
            own = islice(positions[placeholders[modality]], counts[modality][item])
            spans.append(Span.of(modality, item, own))
    return tuple(sorted(spans, key=lambda span: span.offset))


def build_image_inputs(inputs: Mapping[str, Any]) -> dict[Modality, list[TowerInput]]:
    """Build tower inputs of images that are one array [channels, height, width] each.

    Args:
        inputs: as for ``Family.split_tower_inputs``; an engine's single image may lack the axis of images.
    """
    if inputs.get("pixel_values") is None:
        return {}
    pixels = np.asarray(inputs["pixel_values"], np.float32)
    images = pixels.reshape(-1, *pixels.shape[-3:])
    return {"image": [TowerInput({}, {"pixel_values": image}) for image in images]}


def split_tiles(
    tiles: np.ndarray, spans: Sequence[Span], positions_per_tile: int
) -> dict[Modality, list[TowerInput]]:
    """Split the tiles of all media, concatenated in the order of the prompt, by media."""
    ends = np.cumsum([span.embedded // positions_per_tile for span in spans])
    media: dict[Modality, list[TowerInput]] = {}
    for span, own in zip(spans, np.split(tiles, ends[:-1]), strict=True):
        medium = TowerInput({"tiles": (float(len(own)),)}, {"pixel_values": own})
        media.setdefault(span.modality, []).append(medium)
    return media


def read_template(*names: str) -> str:
    """Read a chat template from the ``.jinja`` files next to this module.

    Args:
        names: the files without ``.jinja``, concatenated in this order. Each is named for the module that
            it belongs to, so that ``list_recipe_files`` finds it: ``qwen3_5.turns``.
    """
    return "".join(Path(__file__).with_name(f"{name}.jinja").read_text("utf-8") for name in names)


def load_auto_model(path: Path, **arguments: Any) -> Any:
    """Load a model of any family; the default of ``Family.load_model``.

    Args:
        path: the folder of the checkpoint.
        arguments: keyword arguments of ``from_pretrained``.
    """
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(path, **arguments)


def build_empty_auto_model(path: Path, **arguments: Any) -> Any:
    """Build a model of any family without weights; the default of ``Family.build_empty_model``."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    config = AutoConfig.from_pretrained(path, **arguments)
    return AutoModelForImageTextToText.from_config(config, **arguments)


def compute_rope_positions(model: Any, inputs: Mapping[str, Any]) -> np.ndarray:
    """Compute the positions for a model of any family; the default of ``Family.compute_positions``."""
    # Before transformers 4.52 the rope index is the whole model's, and its base model is the text model.
    rope_index = getattr(model.base_model, "get_rope_index", getattr(model, "get_rope_index", None))
    if rope_index is None:
        return np.arange(inputs["input_ids"].shape[1], dtype=np.int64)[None]
    parameters = signature(rope_index).parameters
    positions, _ = rope_index(**{name: inputs[name] for name in parameters if name in inputs})
    array: np.ndarray = positions[:, 0].cpu().numpy()
    return array
