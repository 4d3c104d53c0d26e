"""Takes PyTorch's float32 for float64, so that a model in float64 is one throughout.

Models ask for float32 where they want more precision than their weights have: in norms, in rotary
embeddings, in softmax. In a float64 run that is the place where precision is lost: on the synthetic
checkpoints it moves log-probabilities by 4e-7 (root mean square), where a whole float32 run moves
them by 6e-7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class Float64Mode(TorchFunctionMode):  # type: ignore[misc]
    """While it is entered, ``x.float()`` and every argument ``torch.float32`` mean float64."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if function is torch.Tensor.float:
            function = torch.Tensor.double
        named = {name: _to_float64(value) for name, value in (kwargs or {}).items()}
        return function(*map(_to_float64, args), **named)


def _to_float64(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value
