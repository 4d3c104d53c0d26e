"""The weights of the reference in one dtype, and how they are run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from vlm_parity.backends.base import Device, Dtype, Outputs
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.families.base import load_auto_model

if TYPE_CHECKING:
    import torch

    from vlm_parity.models.families.base import Family


class TransformersModel:
    """The family's model in one dtype; default attention unless another is asked for."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        family: Family | None,
        dtype: Dtype,
        device: Device,
        engine_args: Mapping[str, Any],
    ) -> None:
        import torch
        from transformers import GenerationConfig

        self._family = family
        self._dtype = getattr(torch, dtype)
        self._device = device
        arguments = {"trust_remote_code": checkpoint.trust_remote_code, **engine_args, "dtype": self._dtype}
        load = family.load_model if family is not None else load_auto_model
        model = load(checkpoint.path, **arguments)
        self.model = model.to(device).eval()
        # The checkpoint's own generation settings hold penalties and end-of-sequence ids.
        self.model.generation_config = GenerationConfig(pad_token_id=0)

    @property
    def attention(self) -> str:
        """The name of the attention that it computes with: ``eager``, ``sdpa``."""
        name: str = self.model.config._attn_implementation
        return name

    def attend(self, implementation: str) -> None:
        """Has it compute with another attention.

        Raises:
            ValueError: the architecture or the environment does not have it.
        """
        self.model.set_attn_implementation(implementation)

    def run(
        self, prepared: Any, continuation: tuple[int, ...] | None, new_tokens: int, copies: int = 1
    ) -> Outputs:
        """All prompt logits, then those along a continuation, or along its own greedy tokens.

        Args:
            prepared: what the processor made of one prompt.
            continuation: the tokens to be forced; None for its own.
            new_tokens: how many free-running tokens.
            copies: how often the prompt stands in the batch; the first is looked at.
        """
        import torch

        with torch.inference_mode(), self._arithmetic():
            fed = type(prepared)({name: self._fed(name, value, copies) for name, value in prepared.items()})
            with self._embeddings() as embeddings:
                prefill = self.model(**fed, use_cache=False).logits[0]
            greedy, rows = self._generate(fed, new_tokens)
            if continuation is not None and continuation != greedy:
                _, rows = self._generate(fed, len(continuation), continuation)
        return Outputs(
            prefill=_to_numpy(prefill),
            decode=_to_numpy(rows[1:]),
            continuation=continuation or greedy,
            greedy=greedy,
            embeddings=_to_numpy(embeddings[0]),
        )

    def _fed(self, name: str, value: torch.Tensor | bool, copies: int) -> torch.Tensor | bool:
        """A tensor on the device, as often as there are prompts: pixels and mel frames in the dtype of the
        model; what is told in seconds, one number a medium, as it is. An option stays an option.
        """
        import torch

        if isinstance(value, bool):
            return value
        axis = self._family.packed_axes.get(name, 0) if self._family is not None else 0
        repeated = torch.cat([value] * copies, dim=axis).to(self._device)
        wide = repeated.is_floating_point() and repeated.ndim > 1
        return repeated.to(self._dtype) if wide else repeated

    def _arithmetic(self) -> AbstractContextManager[Any]:
        import torch

        if self._dtype is not torch.float64:
            return nullcontext()
        from vlm_parity.backends.transformers.float64_mode import Float64Mode

        return Float64Mode()

    @contextmanager
    def _embeddings(self) -> Iterator[list[torch.Tensor]]:
        """Collects what the language model's first layer is given while the block runs."""
        found: list[torch.Tensor] = []

        def take(_: Any, __: Any, given: dict[str, Any]) -> None:
            found.append(given["inputs_embeds"][0])

        family, model = self._family, self.model
        decoder = family.get_language_model(model) if family is not None else model.get_decoder()
        hook = decoder.register_forward_pre_hook(take, with_kwargs=True)
        try:
            yield found
        finally:
            hook.remove()

    def _generate(
        self, fed: Any, new_tokens: int, forced: tuple[int, ...] | None = None
    ) -> tuple[tuple[int, ...], torch.Tensor]:
        """The first prompt's new tokens, and the raw logits before each: [new_tokens, vocabulary]."""
        import torch

        length = fed["input_ids"].shape[1]

        def force(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            only = scores.new_full(scores.shape, float("-inf"))
            only[:, forced[ids.shape[1] - length]] = 0  # type: ignore[index]
            return only

        result = self.model.generate(
            **fed,
            max_new_tokens=new_tokens,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
            logits_processor=[force] if forced else [],
        )
        rows = torch.stack([logits[0] for logits in result.logits])
        return tuple(result.sequences[0, length:].tolist()), rows


def _to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """float32, on the CPU."""
    array: np.ndarray = tensor.float().cpu().numpy()
    return array
