"""LMDeploy with its PyTorch engine, asked as its pipeline asks itself.

At ``tokens`` depth only the front end is built: image processor, tokenizer, chat template. At
``logits`` depth the real pipeline runs, and cases go through the pipeline's own front end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import ExitStack
from typing import Any

import numpy as np

from vlm_parity.backends.base import Backend, Inputs, Outputs, Request
from vlm_parity.backends.common.modes import BATCHED, PREFIX_CACHED, build_batch_requests
from vlm_parity.backends.lmdeploy.chat import LmdeployFrontend
from vlm_parity.backends.lmdeploy.cpu.internals import PrivateApi
from vlm_parity.backends.lmdeploy.engine_config import REFUSED_MODEL, build_engine_config
from vlm_parity.backends.lmdeploy.entry_points import ENTRY_POINTS
from vlm_parity.backends.lmdeploy.generate import LogitsGenerator
from vlm_parity.backends.lmdeploy.load_frontend import build_processor, select_task
from vlm_parity.backends.lmdeploy.modes import MODES, check_mode, engine_arguments, how_it_ran
from vlm_parity.backends.lmdeploy.prompt_recorder import PromptRecorder
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Modality
from vlm_parity.schema.engine_setup import DEFAULT_MODE
from vlm_parity.schema.trace import Depth, EncoderBudget, Stage
from vlm_parity.util.errors import EngineError, UnsupportedError

BLOCK_SIZE = 64
"""Tokens in a block of the key/value cache, LMDeploy's default."""
MIN_BLOCKS = 16
"""LMDeploy takes no smaller cache."""

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
    """LMDeploy's PyTorch engine: on a GPU as it is, on a CPU under the redirections in ``notes``."""

    name = "lmdeploy"
    engine = "lmdeploy"
    modes = MODES
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
    _front_end: LmdeployFrontend
    _answers: LogitsGenerator

    def load(self, checkpoint: Checkpoint) -> None:
        for internal in _PRIVATE_APIS:
            internal.find()
        self._redirected = ExitStack()
        if self.settings.device == "cpu":
            from vlm_parity.backends.lmdeploy.cpu.redirect import redirect_to_cpu

            self.workarounds += redirect_to_cpu(self._redirected, self.settings.depth)
        config = build_engine_config(self._chosen(), self.settings.device)
        try:
            if self.settings.depth is Depth.TOKENS:
                processor = build_processor(checkpoint, config)
                self._front_end = LmdeployFrontend(processor, checkpoint, asyncio.run)
            else:
                self._start(checkpoint, config)
        except (RuntimeError, ValueError) as problem:
            if REFUSED_MODEL.search(str(problem)):
                # One refusal goes on with the whole configuration of the model.
                raise UnsupportedError(str(problem).splitlines()[0][:500]) from problem
            raise

    def _start(self, checkpoint: Checkpoint, config: Any) -> None:
        from lmdeploy import pipeline

        select_task(checkpoint, config)
        self._pipeline = pipeline(
            str(checkpoint.path), backend_config=config, trust_remote_code=checkpoint.trust_remote_code
        )
        engine = self._pipeline.async_engine
        run = _get_model_runner(self._pipeline.internal_thread.loop)
        check_mode(self.settings.mode, engine)
        self._front_end = LmdeployFrontend(engine.prompt_processor, checkpoint, run)
        in_batch = build_batch_requests() if self.settings.mode == BATCHED else []
        companions = [self._front_end.inputs(request).prepared for request in in_batch]
        self._answers = LogitsGenerator(engine, run, companions)
        self._prompts = PromptRecorder(engine)

    def _chosen(self) -> dict[str, Any]:
        """The arguments of LMDeploy's configuration, as the settings want it; records them in ``applied``.

        Raises:
            UnsupportedError: LMDeploy does not serve the dtype on this device.
        """
        settings = self.settings
        length = settings.max_length + 1  # LMDeploy wants prompts shorter than its sessions
        chosen: dict[str, Any] = {
            "session_len": length,
            "dtype": settings.dtype,
            **self._mode_arguments(length),
        }
        if settings.device == "cpu":
            # One block is LMDeploy's own, another it leaves free.
            size = {"block_size": BLOCK_SIZE, **chosen, **settings.engine_args}["block_size"]
            blocks = -(-length // size) * chosen["max_batch_size"] + 2
            chosen |= {"eager_mode": True, "num_gpu_blocks": max(blocks, MIN_BLOCKS), "device_type": "cpu"}
        elif settings.dtype == "float32":
            raise UnsupportedError(
                "PytorchEngineConfig: assert self.dtype in ['auto', 'float16', 'bfloat16']"
            )
        self.applied_engine_args = {**chosen, **settings.engine_args}
        return self.applied_engine_args

    def _mode_arguments(self, length: int) -> dict[str, Any]:
        return engine_arguments(self.settings.mode, length)

    def inputs(self, request: Request) -> Inputs:
        inputs = self._front_end.inputs(request)
        if self.settings.depth is Depth.TOKENS or request.case.depth == "tokens":
            reason = "LMDeploy makes them inside its engine, and at this depth there is none"
            inputs.not_captured[Stage.POSITIONS] = reason
        return inputs

    def outputs(self, inputs: Inputs, continuation: tuple[int, ...] | None, new_tokens: int) -> Outputs:
        """As in ``Backend``.

        Raises:
            ValueError: no continuation is given; only the reference chooses its own.
            EngineError: the engine reports an error or did not do as it was told.
            EngineCrashedError: its loop is dead.
        """
        if continuation is None:
            raise ValueError("only the reference chooses its own continuation")
        if self.settings.mode != DEFAULT_MODE:
            return self._in_mode(inputs, continuation, new_tokens)
        with self._prompts.watching(inputs.input_ids, logits=False) as given:
            prefill = self._answers.prompt_logits(inputs.prepared)
        rows = self._answers.forced_logits(inputs.prepared, continuation)
        greedy = self._answers.greedy(inputs.prepared, new_tokens)
        decode = np.stack(rows[1:]) if len(rows) > 1 else prefill[:0]
        return Outputs(prefill, decode, continuation, greedy, given.positions, given.embeddings)

    def _in_mode(self, inputs: Inputs, continuation: tuple[int, ...], new_tokens: int) -> Outputs:
        """The prompt's logits come from the very request that is forced: LMDeploy gives none where prompts
        are cached, and dies of them where they are in chunks and in float32.
        """
        if self.settings.mode == PREFIX_CACHED:
            self._answers.greedy(inputs.prepared, 1)
        with self._prompts.watching(inputs.input_ids, logits=True) as prompt:
            rows = self._answers.forced_logits(inputs.prepared, continuation, lambda: prompt.is_whole)
        if not prompt.is_whole or prompt.logits is None:
            raise EngineError(f"of a prompt of {len(inputs.input_ids)} ids only {prompt.steps} were seen")
        ran = how_it_ran(self.settings.mode, inputs, prompt, len(rows) - 1, self.applied_engine_args)
        greedy = self._answers.greedy(inputs.prepared, new_tokens)
        decode = np.stack(rows[1:]) if len(rows) > 1 else prompt.logits[:0]
        return Outputs(
            prompt.logits,
            decode,
            continuation,
            greedy,
            prompt.positions,
            prompt.embeddings,
            cached_tokens=prompt.cached_tokens,
            mode_note=ran,
        )

    def decode_token_texts(self, ids: Iterable[int]) -> dict[int, str]:
        return self._front_end.decode_token_texts(ids)

    def measure_encoder_budget(self, modality: Modality) -> EncoderBudget:
        """There is none: ``_get_runtime_size`` of its executor counts ``max_prefill_token_num`` positions of
        logits, and its warm-up runs text alone.
        """
        raise UnsupportedError(
            f"LMDeploy reserves nothing by the size of its largest {modality}: what it leaves free goes by "
            "max_prefill_token_num, and its warm-up runs no medium"
        )

    def close(self) -> None:
        if self._pipeline is not None:
            self._pipeline.close()
        self._redirected.close()


def _get_model_runner(loop: asyncio.AbstractEventLoop) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs coroutines to their end in the pipeline's event loop, which has a thread of its own."""

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    return run
