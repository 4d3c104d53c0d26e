"""Values that a prompt gets in vLLM's worker in place of those that the model runner would compute.

The methods of the runner stay replaced until ``restore``; for other requests they do what they always do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vlm_parity.util.errors import PrivateApiChangedError

if TYPE_CHECKING:
    import numpy as np
    import torch

_INIT_POSITIONS, _BATCH_MEDIA = "_init_mrope_positions", "_batch_mm_inputs_from_scheduler"
_NEEDED = (_BATCH_MEDIA, "encoder_cache", "uses_mrope", "dtype", "device")


class GivenValues:
    """The given values of one prompt."""

    def __init__(
        self,
        runner: Any,
        ids: list[int],
        positions: tuple[np.ndarray, int] | None,
        features: dict[str, np.ndarray],
        *,
        is_normalized: bool = False,
    ) -> None:
        """Replace methods of the runner.

        Args:
            runner: vLLM's V1 model runner.
            ids: of the prompt, by which its request is recognized.
            positions: of the prompt, int64 [axes, prompt positions], and the position of the first decoding
                step; None for a model whose positions are the indices.
            features: float32 [embedded positions, hidden * (1 + deep levels)] of each medium, by the hash in
                the rendered prompt. Its tower does not run.
            is_normalized: pixels in floating point are normalized already; the model is to take them as
                they are.

        Raises:
            PrivateApiChangedError: the runner lacks a method.
        """
        self._runner, self._ids, self._positions, self._features = runner, ids, positions, features
        needed = _NEEDED if positions is None else (*_NEEDED, _INIT_POSITIONS)
        missing = [name for name in needed if not hasattr(runner, name)]
        if missing:
            raise PrivateApiChangedError(
                f"{type(runner).__module__}.{type(runner).__name__} has no {', '.join(missing)}"
            )
        self._norms = _find_input_norms(runner.get_model()) if is_normalized else []
        self._batch_media = runner._batch_mm_inputs_from_scheduler
        runner._batch_mm_inputs_from_scheduler = self._take_out_media
        if positions is not None:
            self._init_positions = runner._init_mrope_positions
            runner._init_mrope_positions = self._set_positions
        for norm in self._norms:
            norm.forward = _pass_normalized(norm.forward)

    def restore(self) -> None:
        """Restore the methods of the runner."""
        self._runner._batch_mm_inputs_from_scheduler = self._batch_media
        if self._positions is not None:
            self._runner._init_mrope_positions = self._init_positions
        for norm in self._norms:
            del norm.forward

    def _take_out_media(self, scheduled: Any) -> tuple[list[str], list[Any], list[Any]]:
        """Put the given features where the tower's would go; return what is left for the towers."""
        import torch

        left: tuple[list[str], list[Any], list[Any]] = ([], [], [])
        for entry in zip(*self._batch_media(scheduled), strict=True):
            features = self._features.get(entry[0])
            if features is None:
                for column, value in zip(left, entry, strict=True):
                    column.append(value)
            else:
                given = torch.from_numpy(features).to(self._runner.device, self._runner.dtype)
                self._runner.encoder_cache[entry[0]] = given
        return left

    def _set_positions(self, state: Any) -> None:
        """Set the positions of a request: vLLM's own code may fail on a prompt without media."""
        import torch

        assert self._positions is not None
        if list(state.prompt_token_ids or ()) != self._ids:
            self._init_positions(state)
            return
        positions, first_decoded = self._positions
        state.mrope_positions = torch.from_numpy(positions).clone()
        state.mrope_position_delta = first_decoded - positions.shape[1]


def _find_input_norms(model: Any) -> list[Any]:
    """Return the modules with which a model normalizes pixels.

    Raises:
        PrivateApiChangedError: vLLM has moved their class.
    """
    try:
        from vllm.model_executor.layers.fusion.mm_input_norm import FusedMMInputNorm
    except ImportError as error:
        raise PrivateApiChangedError(f"vLLM has moved a name: {error}") from error
    return [module for module in model.modules() if isinstance(module, FusedMMInputNorm)]


def _pass_normalized(normalize: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def forward(pixels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        return pixels.to(dtype) if pixels.is_floating_point() else normalize(pixels, dtype)

    return forward
