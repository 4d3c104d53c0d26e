"""LMDeploy with its PyTorch engine, called as by its own pipeline.

At depth ``tokens`` only the frontend is built: image processor, tokenizer, chat template. At depth ``logits``
the real pipeline runs, and cases go through its own frontend.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vlm_parity.backends.base import Backend, Inputs, Outputs, ReferenceValues, Request
from vlm_parity.backends.common.modes import build_batch_requests, build_decoy
from vlm_parity.backends.common.module_recorder import ModuleRecorder
from vlm_parity.backends.lmdeploy.chat import LmdeployFrontend, build_chat_arguments
from vlm_parity.backends.lmdeploy.cpu.internals import PrivateApi
from vlm_parity.backends.lmdeploy.engine_config import REFUSED_MODEL, build_engine_config
from vlm_parity.backends.lmdeploy.entry_points import ENTRY_POINTS
from vlm_parity.backends.lmdeploy.generate import LogitsGenerator
from vlm_parity.backends.lmdeploy.given_values import GivenValues
from vlm_parity.backends.lmdeploy.load_frontend import build_processor, select_task
from vlm_parity.backends.lmdeploy.modes import MODES, check_mode, describe_run, get_engine_args
from vlm_parity.backends.lmdeploy.prompt_recorder import PromptRecorder
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Modality
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.engine_setup import BATCHED, DEFAULT_MODE, PREFIX_CACHED, Depth
from vlm_parity.schema.trace import EncoderBudget, Stage
from vlm_parity.util.errors import EngineError, UnsupportedError

BLOCK_SIZE = 64
"""Positions in a block of the key/value cache, LMDeploy's default."""
MIN_BLOCKS = 16
"""The smallest cache that LMDeploy accepts, in blocks."""

_PRIVATE_APIS = (
    PrivateApi("lmdeploy.vl.engine", "ImageEncoder", ("model_path", "backend", "backend_config")),
    PrivateApi("lmdeploy.vl.model.base", "VisionModel.get_input_prompt", ("messages", "chat_template")),
    PrivateApi(
        "lmdeploy.serve.processors", "MultimodalProcessor", ("tokenizer", "chat_template", "vl_encoder")
    ),
    PrivateApi(
        "lmdeploy.serve.processors",
        "MultimodalProcessor.get_prompt_input",
        ("prompt", "do_preprocess", "media_io_kwargs", "mm_processor_kwargs"),
    ),
    PrivateApi("lmdeploy.serve.processors", "MultimodalProcessor.async_parse_multimodal_item"),
    PrivateApi("lmdeploy.serve.processors", "MultimodalProcessor.format_prompts", ("prompts",)),
    PrivateApi("lmdeploy.serve.core", "AsyncEngine.safe_run", ("handle", "session")),
    PrivateApi("lmdeploy.messages", "ResponseType.ENGINE_STOP_ERROR"),
)


class LmdeployBackend(Backend):
    """LMDeploy's PyTorch engine: unchanged on a GPU, with the redirections in ``workarounds`` on a CPU."""

    name = "lmdeploy"
    engine = "lmdeploy"
    modes = MODES
    conditions = frozenset({Condition.FEATURES})
    entry_points = ENTRY_POINTS
    server_target = "vlm_parity.backends.lmdeploy.server:LmdeployServerBackend"
    tensor_parallel = "tp"
    packages = (
        "lmdeploy",
        "transformers",
        "tokenizers",
        "torch",
        "torchvision",
        "triton",
        "numpy",
        "pillow",
        "opencv-python-headless",
    )

    _pipeline: Any = None
    _module_recorder: ModuleRecorder | None = None
    """Set while the calls of the model's modules are recorded."""
    _frontend: LmdeployFrontend
    _generator: LogitsGenerator

    def load(self, checkpoint: Checkpoint) -> None:
        for internal in _PRIVATE_APIS:
            internal.find()
        self._redirected = ExitStack()
        if self.settings.device == "cpu":
            from vlm_parity.backends.lmdeploy.cpu.redirect import redirect_to_cpu

            self.workarounds += redirect_to_cpu(self._redirected, self.settings.depth)
        config = build_engine_config(self._select_engine_args(), self.settings.device)
        try:
            if self.settings.depth is Depth.TOKENS:
                processor = build_processor(checkpoint, config)
                self._frontend = LmdeployFrontend(processor, checkpoint, asyncio.run)
            else:
                self._start_pipeline(checkpoint, config)
        except (RuntimeError, ValueError) as error:
            if REFUSED_MODEL.search(str(error)):
                # One of the messages continues with the whole configuration of the model.
                raise UnsupportedError(str(error).splitlines()[0][:500]) from error
            raise

    def _start_pipeline(self, checkpoint: Checkpoint, config: Any) -> None:
        from lmdeploy import pipeline

        select_task(checkpoint, config)
        self._pipeline = pipeline(
            str(checkpoint.path), backend_config=config, trust_remote_code=checkpoint.trust_remote_code
        )
        engine = self._pipeline.async_engine
        run = _build_coroutine_runner(self._pipeline.internal_thread.loop)
        check_mode(self.settings.mode, engine)
        self._frontend = LmdeployFrontend(engine.prompt_processor, checkpoint, run)
        batch = build_batch_requests() if self.settings.mode == BATCHED else []
        companions = [self._frontend.inputs(request).prepared for request in batch]
        self._generator = LogitsGenerator(engine, run, companions)
        self._recorder = PromptRecorder(engine)

    def _select_engine_args(self) -> dict[str, Any]:
        """Return the arguments of ``PytorchEngineConfig``; record them for the report.

        Raises:
            UnsupportedError: LMDeploy does not support the dtype on this device.
        """
        settings = self.settings
        length = settings.max_length + 1  # LMDeploy requires prompts shorter than its sessions
        arguments: dict[str, Any] = {
            "session_len": length,
            "dtype": settings.dtype,
            **self._get_mode_args(length),
        }
        if settings.device == "cpu":
            # LMDeploy uses one block itself and leaves one free.
            size = {"block_size": BLOCK_SIZE, **arguments, **settings.engine_args}["block_size"]
            blocks = -(-length // size) * arguments["max_batch_size"] + 2
            arguments |= {"eager_mode": True, "num_gpu_blocks": max(blocks, MIN_BLOCKS), "device_type": "cpu"}
        elif settings.dtype == "float32":
            raise UnsupportedError(
                "PytorchEngineConfig: assert self.dtype in ['auto', 'float16', 'bfloat16']"
            )
        self.applied_engine_args = {**arguments, **settings.engine_args}
        return self.applied_engine_args

    def _get_mode_args(self, length: int) -> dict[str, Any]:
        return get_engine_args(self.settings.mode, length)

    @classmethod
    def build_call(cls, request: Request, processor_kwargs: dict[str, Any]) -> dict[str, Any]:
        return build_chat_arguments(request, processor_kwargs)

    def inputs(self, request: Request) -> Inputs:
        inputs = self._frontend.inputs(request)
        decoy = build_decoy(request) if self.settings.mode == PREFIX_CACHED else None
        if decoy is not None:
            inputs = replace(inputs, decoy=self._frontend.inputs(decoy).prepared)
        if self.settings.depth is Depth.TOKENS or request.case.depth == "tokens":
            reason = "LMDeploy computes them inside its engine, which does not run at this depth"
            inputs.not_captured[Stage.POSITIONS] = reason
        return inputs

    def outputs(self, inputs: Inputs, continuation: tuple[int, ...] | None, new_tokens: int) -> Outputs:
        """Run the engine on preprocessed inputs; see ``Backend.outputs``.

        Raises:
            ValueError: the continuation is None.
            EngineError: the engine reports an error or did not follow the continuation.
            EngineCrashedError: the engine's loop has ended.
        """
        if continuation is None:
            raise ValueError("a continuation is required: only the reference chooses its own")
        if self.settings.mode != DEFAULT_MODE:
            return self._run_in_mode(inputs, continuation, new_tokens)
        with self._recorder.record(inputs.input_ids, logits=False) as prompt:
            prefill = self._generator.compute_prompt_logits(inputs.prepared)
        with self._record_forced(inputs, continuation):
            rows = self._generator.compute_forced_logits(inputs.prepared, continuation)
        greedy = self._generator.generate_greedy(inputs.prepared, new_tokens)
        decode = np.stack(rows[1:]) if len(rows) > 1 else prefill[:0]
        return Outputs(
            prefill,
            decode,
            continuation,
            greedy,
            prompt.positions,
            prompt.embeddings,
            deep_levels=prompt.deep_levels,
        )

    @contextmanager
    def condition(self, inputs: Inputs, condition: Condition, values: ReferenceValues) -> Iterator[Inputs]:
        if self.settings.mode == PREFIX_CACHED:
            raise UnsupportedError(
                "LMDeploy's prefix cache would know a prompt with given features by its ids alone"
            )
        if condition is not Condition.FEATURES:
            raise UnsupportedError(f"LMDeploy cannot be given {condition.description}")
        embedded = tuple(position for span in values.spans for position in span.positions)
        if embedded and self._recorder.masks_need_pixels:
            raise UnsupportedError(
                "LMDeploy masks the attention of this model by its images only if it has their pixels"
            )
        given = GivenValues(values.input_ids, values.positions, embedded, values.features, values.deep_levels)
        with self._recorder.give(given):
            yield replace(
                inputs,
                prepared={"input_ids": list(values.input_ids)},
                input_ids=values.input_ids,
                spans=values.spans,
                positions=None,
            )

    @contextmanager
    def record_modules(self, folder: Path, inputs: Inputs, within: str = "") -> Iterator[None]:
        if self.settings.device != "cpu" and not self.applied_engine_args.get("eager_mode"):
            raise UnsupportedError("captured graphs call no modules: load LMDeploy with eager_mode=true")
        recorder = self._module_recorder = self._recorder.build_module_recorder(within)
        try:
            yield
        finally:
            self._module_recorder = None
            recorder.close()
        recorder.write(folder, inputs.input_ids, self.settings.dtype)

    def _record_forced(self, inputs: Inputs, continuation: tuple[int, ...]) -> AbstractContextManager[None]:
        """Record the modules during the forced request if they are to be recorded."""
        if self._module_recorder is None:
            return nullcontext()
        return self._recorder.record_modules(self._module_recorder, inputs.input_ids, len(continuation) - 1)

    def _run_in_mode(self, inputs: Inputs, continuation: tuple[int, ...], new_tokens: int) -> Outputs:
        """Run the engine in a mode other than ``default``.

        The prompt logits are recorded from the forced request itself: LMDeploy returns none with a prefix
        cache, and crashes if it has to return those of a split prompt in float32.
        """
        if self.settings.mode == PREFIX_CACHED:
            if inputs.decoy is not None:
                self._generator.generate_greedy(inputs.decoy, 1)
            self._generator.generate_greedy(inputs.prepared, 1)
        with (
            self._record_forced(inputs, continuation),
            self._recorder.record(inputs.input_ids, logits=True) as prompt,
        ):
            rows = self._generator.compute_forced_logits(
                inputs.prepared, continuation, lambda: prompt.is_complete
            )
        if not prompt.is_complete or prompt.logits is None:
            raise EngineError(
                f"the prompt of {len(inputs.input_ids)} ids was recorded incompletely: {prompt.steps}"
            )
        mode_note = describe_run(self.settings.mode, inputs, prompt, len(rows) - 1, self.applied_engine_args)
        greedy = self._generator.generate_greedy(inputs.prepared, new_tokens)
        decode = np.stack(rows[1:]) if len(rows) > 1 else prompt.logits[:0]
        return Outputs(
            prompt.logits,
            decode,
            continuation,
            greedy,
            prompt.positions,
            prompt.embeddings,
            deep_levels=prompt.deep_levels,
            cached_tokens=prompt.cached_tokens,
            mode_note=mode_note,
        )

    def decode_token_texts(self, ids: Iterable[int]) -> dict[int, str]:
        return self._frontend.decode_token_texts(ids)

    def measure_encoder_budget(self, modality: Modality) -> EncoderBudget:
        """Raise ``UnsupportedError``: LMDeploy has no encoder budget.

        ``_get_runtime_size`` of its executor counts ``max_prefill_token_num`` positions of logits, and its
        warm-up runs text only.
        """
        raise UnsupportedError(
            f"LMDeploy has no encoder budget for {modality}: the memory that it leaves free depends on "
            "max_prefill_token_num only, and its warm-up runs text only"
        )

    def close(self) -> None:
        if self._pipeline is not None:
            self._pipeline.close()
        self._redirected.close()


def _build_coroutine_runner(loop: asyncio.AbstractEventLoop) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Return a function that runs a coroutine to its end in the pipeline's event loop, in its thread."""

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    return run
