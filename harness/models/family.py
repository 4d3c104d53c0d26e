"""A family: all checkpoints of one architecture, and how to build a tiny one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from harness.case import Modality


@dataclass(frozen=True)
class TowerInput:
    """What the vision tower is given of one medium; ``harness.trace.MediaInput`` says what is in it."""

    fields: Mapping[str, tuple[float, ...]]
    arrays: Mapping[str, np.ndarray]


class Family(ABC):
    """One architecture. Imports transformers and torch inside its methods only."""

    name: ClassVar[str]
    model_types: ClassVar[tuple[str, ...]]
    """The ``model_type`` of the configurations that belong to it."""
    modalities: ClassVar[tuple[Modality, ...]]

    @abstractmethod
    def build(self, folder: Path) -> None:
        """Writes a tiny synthetic checkpoint of the real architecture into an empty folder:
        the same bytes every time under the same library versions."""

    @abstractmethod
    def placeholder_ids(self, config: Mapping[str, Any]) -> dict[Modality, int]:
        """The id that stands for one embedded position, by modality, from ``config.json``."""

    @abstractmethod
    def feature_counts(
        self, config: Mapping[str, Any], inputs: Mapping[str, Any]
    ) -> dict[Modality, list[int]]:
        """How many embedded positions each medium takes, in order, by modality.

        Args:
            config: the content of ``config.json``.
            inputs: what the transformers processor returned for the case.
        """

    @abstractmethod
    def tower_inputs(
        self, config: Mapping[str, Any], inputs: Mapping[str, Any]
    ) -> dict[Modality, list[TowerInput]]:
        """What the vision tower is given of each medium, in order, by modality.

        Args:
            config: the content of ``config.json``.
            inputs: what the transformers processor returned for the case, or what an engine made of one
                medium, under the same names; arrays or tensors on the CPU that numpy can read.
        """
