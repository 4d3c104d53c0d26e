"""The transformers model of the reference, in one dtype."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from vlm_parity.backends.base import Outputs
from vlm_parity.backends.common.deep_features import join_deep_features
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.families.base import load_auto_model
from vlm_parity.schema.engine_setup import Device, Dtype

if TYPE_CHECKING:
    import torch

    from vlm_parity.models.families.base import Family


_RECORDED_ARGUMENTS = ("inputs_embeds", "position_ids", "visual_pos_masks", "deepstack_visual_embeds")
_MROPE_DIMENSIONS = 3  # axes, prompts, positions


class TransformersModel:
    """A loaded model with the default attention implementation unless ``set_attention`` changes it."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        family: Family | None,
        dtype: Dtype,
        device: Device,
        engine_args: Mapping[str, Any],
    ) -> None:
        """Load the weights.

        Args:
            checkpoint: the model to load.
            family: of the checkpoint; None if it is not registered.
            dtype: of weights and computation.
            device: on which to run.
            engine_args: further arguments of ``from_pretrained``.
        """
        import torch
        from transformers import GenerationConfig

        self._family = family
        self._dtype = getattr(torch, dtype)
        self._device = device
        arguments = {"trust_remote_code": checkpoint.trust_remote_code, **engine_args, "dtype": self._dtype}
        load = family.load_model if family is not None else load_auto_model
        model = load(checkpoint.path, **arguments)
        self.model = model.to(device).eval()
        # The checkpoint's own generation config has penalties and end-of-sequence ids.
        self.model.generation_config = GenerationConfig(pad_token_id=0)

    @property
    def attention(self) -> str:
        """The current attention implementation, such as ``eager`` or ``sdpa``."""
        name: str = self.model.config._attn_implementation
        return name

    def set_attention(self, implementation: str) -> None:
        """Change the attention implementation.

        Raises:
            ValueError: the architecture or the environment does not support it.
        """
        self.model.set_attn_implementation(implementation)

    @contextmanager
    def use_attention(self, implementation: str) -> Iterator[None]:
        """Use an attention implementation while the block runs."""
        own = self.attention
        self.set_attention(implementation)
        try:
            yield
        finally:
            self.set_attention(own)

    def run(
        self, prepared: Any, continuation: tuple[int, ...] | None, new_tokens: int, copies: int = 1
    ) -> Outputs:
        """Compute all prompt logits, and those along a continuation or along the model's own greedy ids.

        Args:
            prepared: the processor's output for one prompt.
            continuation: ids to force; None for the greedy ids.
            new_tokens: number of free-running ids; may be 0 if there is a continuation.
            copies: number of copies of the prompt in the batch; the results are those of the first.
        """
        import torch

        with torch.inference_mode(), self._get_arithmetic_mode():
            inputs = self._build_inputs(prepared, copies)
            with self._record_language_model() as calls:
                prefill = self.model(**inputs, use_cache=False).logits[0]
            greedy: tuple[int, ...] = ()
            if new_tokens:
                greedy, rows, positions = self._generate(inputs, new_tokens)
            if continuation is not None and continuation != greedy:
                _, rows, positions = self._generate(inputs, len(continuation), continuation)
        embeddings, deep_levels = _read_embeddings(calls[0])
        return Outputs(
            prefill=_to_numpy(prefill),
            decode=_to_numpy(rows[1:]),
            continuation=continuation or greedy,
            greedy=greedy,
            embeddings=_to_numpy(embeddings),
            deep_levels=deep_levels,
            decode_positions=positions,
        )

    def run_prompt(self, prepared: Any) -> torch.Tensor:
        """Run the prompt with gradients as the caller has set them, and return its logits."""
        with self._get_arithmetic_mode():
            logits: torch.Tensor = self.model(**self._build_inputs(prepared), use_cache=False).logits
        return logits

    def run_continuation(self, prepared: Any, continuation: tuple[int, ...]) -> None:
        """Run the prompt and a continuation for the sake of hooks: each call of the root is a step."""
        with self._get_arithmetic_mode():
            self._generate(self._build_inputs(prepared), len(continuation), continuation)

    def _build_inputs(self, prepared: Any, copies: int = 1) -> Any:
        return type(prepared)(
            {name: self._repeat_input(name, value, copies) for name, value in prepared.items()}
        )

    def _repeat_input(self, name: str, value: torch.Tensor | bool, copies: int) -> torch.Tensor | bool:
        """Return a model input on the device, repeated along its batch axis.

        Pixels and mel frames get the dtype of the model; times in seconds, one number for each medium, keep
        theirs. Flags are returned unchanged.
        """
        import torch

        if isinstance(value, bool):
            return value
        axis = self._family.packed_axes.get(name, 0) if self._family is not None else 0
        repeated = torch.cat([value] * copies, dim=axis).to(self._device)
        wide = repeated.is_floating_point() and repeated.ndim > 1
        return repeated.to(self._dtype) if wide else repeated

    def _get_arithmetic_mode(self) -> AbstractContextManager[Any]:
        import torch

        if self._dtype is not torch.float64:
            return nullcontext()
        from vlm_parity.backends.transformers.float64_mode import Float64Mode

        return Float64Mode()

    @contextmanager
    def _record_language_model(self) -> Iterator[list[dict[str, Any]]]:
        """Collect the arguments of each call of the language model while the block runs."""
        calls: list[dict[str, Any]] = []

        def record(_module: Any, _args: Any, kwargs: dict[str, Any]) -> None:
            calls.append({name: kwargs.get(name) for name in _RECORDED_ARGUMENTS})

        family, model = self._family, self.model
        decoder = family.get_language_model(model) if family is not None else model.get_decoder()
        hook = decoder.register_forward_pre_hook(record, with_kwargs=True)
        try:
            yield calls
        finally:
            hook.remove()

    def _generate(
        self, inputs: Any, new_tokens: int, forced: tuple[int, ...] | None = None
    ) -> tuple[tuple[int, ...], torch.Tensor, np.ndarray | None]:
        """Generate along forced or the most likely ids.

        Returns:
            The new ids of the first prompt; the raw logits of each: [new_tokens, vocabulary]; and the
            positions as in ``Outputs.decode_positions``.
        """
        import torch

        length = inputs["input_ids"].shape[1]

        def force(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            only = scores.new_full(scores.shape, float("-inf"))
            only[:, forced[ids.shape[1] - length]] = 0  # type: ignore[index]
            return only

        with self._record_language_model() as calls:
            result = self.model.generate(
                **inputs,
                max_new_tokens=new_tokens,
                do_sample=False,
                output_logits=True,
                return_dict_in_generate=True,
                logits_processor=[force] if forced else [],
            )
        rows = torch.stack([logits[0] for logits in result.logits])
        return tuple(result.sequences[0, length:].tolist()), rows, _read_decode_positions(calls[1:])


def _read_embeddings(call: Mapping[str, Any]) -> tuple[torch.Tensor, int]:
    """Return the embeddings of the first prompt as in ``Outputs``, and their number of deep levels."""
    levels, masks = call["deepstack_visual_embeds"], call["visual_pos_masks"]
    mask = masks[0] if masks is not None else None
    return join_deep_features(call["inputs_embeds"][0], mask, levels), len(levels or ())


def _read_decode_positions(calls: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
    """Return the mrope positions of the first prompt's decoding steps; None if there are no such positions.

    The last three axes are time, height and width; some models have one of text positions before them.
    """
    steps = [call["position_ids"] for call in calls]
    if not steps or any(ids is None or ids.ndim != _MROPE_DIMENSIONS for ids in steps):
        return None
    return np.concatenate([ids[-3:, 0].cpu().numpy() for ids in steps], axis=1).astype(np.int64)


def _to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """Return a tensor as float32, on the CPU."""
    array: np.ndarray = tensor.float().cpu().numpy()
    return array
