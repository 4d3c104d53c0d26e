"""Forced passes: the reference runs once more, and each of its modules receives the engine's inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from vlm_parity.backends.transformers.engine_values import Counterpart, EngineValues, compute_distance
from vlm_parity.backends.transformers.module_calls import ModuleHooks, SkipModule, ValueKey

StepKey = tuple[int, ValueKey]
"""The step, 0 for the prompt, and the place in it."""


@dataclass(frozen=True)
class ForcedValue:
    """One value of the reference, computed from the engine's inputs, with the engine's counterpart."""

    value: torch.Tensor
    """In the dtype of the reference."""
    counterpart: Counterpart | None


class ForcedPass:
    """The values of a pass in the order of computation."""

    def __init__(
        self,
        model: torch.nn.Module,
        steps: Sequence[EngineValues],
        known: Mapping[StepKey, ForcedValue] | None = None,
        accept: Callable[[ValueKey, Counterpart], bool] = lambda _, __: True,
        is_skipped: SkipModule = lambda _: False,
    ) -> None:
        """Prepare a pass.

        Args:
            model: of the reference, with attention ``sdpa``.
            steps: the engine's values of the prompt, then of each decoding step.
            known: the values of an earlier pass: its counterparts are used again.
            accept: returns whether the counterpart of a value is used.
            is_skipped: as for ``ModuleHooks``.
        """
        self._steps, self._known, self._model, self._accept = steps, known, model, accept
        self._step = 0
        self._is_begun = False
        self._hooks = ModuleHooks(model, self._visit, is_skipped)
        self.values: dict[StepKey, ForcedValue] = {}

    @property
    def class_paths(self) -> Mapping[str, str]:
        """The class of each module by its name."""
        return self._hooks.class_paths

    def run(self, generate: Callable[[], object]) -> None:
        """Run the model; each call of its root is a step."""
        root = self._model.register_forward_pre_hook(self._begin_step)
        try:
            with self._hooks.install():
                generate()
        finally:
            root.remove()

    def _begin_step(self, *_: object) -> None:
        if self._is_begun:  # towers may run before the root does
            self._step += 1
            self._hooks.restart()
        self._is_begun = True

    def _visit(self, key: ValueKey, value: torch.Tensor) -> torch.Tensor:
        if self._step >= len(self._steps):
            return value
        place = (self._step, key)
        if self._known is not None:
            known = self._known.get(place)
            counterpart = known.counterpart if known is not None else None
        else:
            found = self._steps[self._step].find(value.detach(), key.module, key.side)
            counterpart = found if found is not None and self._accept(key, found) else None
        self.values[place] = ForcedValue(value.detach().clone(), counterpart)
        if key.side == "output" or counterpart is None:
            return value
        return counterpart.value.to(value)


def measure_noise(truth: ForcedValue, sample: ForcedValue | None, rounding: float) -> float:
    """Return how far the reference moves by computing in the engine's dtype on the same inputs.

    Args:
        truth: of the pass in the dtype of the reference.
        sample: of the pass in the engine's dtype.
        rounding: root mean square of one rounding in that dtype, a lower bound.
    """
    if sample is None:
        return rounding
    distance = compute_distance(sample.value.double(), truth.value.double())
    return max(distance, rounding) if math.isfinite(distance) else rounding  # float16 may overflow
