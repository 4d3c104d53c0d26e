"""Logits of the prompt and along a continuation, and greedy tokens, from LMDeploy's engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np

from vlm_parity.backends.lmdeploy.cpu.operator_errors import get_last_error
from vlm_parity.util.errors import EngineCrashedError, EngineError

EngineRequest = dict[str, Any]
"""Outputs of LMDeploy's frontend: ``input_ids`` and, if the case has media, ``multimodal``."""

_EXTRA_TOKENS = 64
"""Ids that companions generate beyond those of the request; LMDeploy delays prompts by up to 16 steps."""


class LogitsGenerator:
    """Sends requests to a running ``AsyncEngine``, each in its own session."""

    def __init__(
        self,
        engine: Any,
        run: Callable[[Coroutine[Any, Any, Any]], Any],
        companions: Sequence[EngineRequest] = (),
    ) -> None:
        """Store the engine.

        Args:
            engine: the ``async_engine`` of a pipeline.
            run: runs a coroutine to its end in the engine's event loop.
            companions: requests to run in one batch with every request.
        """
        self._engine = engine
        self._run = run
        self._companions = tuple(companions)

    def compute_prompt_logits(self, request: EngineRequest) -> np.ndarray:
        """Return the raw logits of every prompt position: float32 [prompt positions, vocabulary].

        Raises:
            EngineError: the engine reports an error, or a different number of rows.
            EngineCrashedError: the engine's loop has ended.
        """
        logits = self._request(request, max_new_tokens=0, output_logits="all")[-1].logits
        self._flush(request)
        expected = len(request["input_ids"])
        if logits is None or len(logits) != expected:
            count = "no" if logits is None else len(logits)
            raise EngineError(f"LMDeploy returned {count} rows of prompt logits, not {expected}")
        return _to_numpy(logits)

    def _flush(self, request: EngineRequest) -> None:
        """Generate one id and discard it, to protect later requests.

        LMDeploy 0.18 leaves a request without new tokens in the batch of its model agent, but not in its
        scheduler's list of running ones: the next request is decoded from the state of the one before. The
        discarded request has the same prompt because it needs as many cache blocks.
        """
        self._request(request, max_new_tokens=1)

    def compute_forced_logits(
        self,
        request: EngineRequest,
        continuation: tuple[int, ...],
        is_prompt_complete: Callable[[], bool] = lambda: True,
    ) -> list[np.ndarray]:
        """Return the raw logits along a continuation, computed through the KV cache.

        Args:
            request: the prompt.
            continuation: ids to follow.
            is_prompt_complete: returns whether the whole prompt has been run. LMDeploy samples an id after
                each piece of a prompt, and discards all but the last.

        Returns:
            One row, float32 [vocabulary], for each id of the continuation: the logits from which it is
            sampled. The first row therefore belongs to the last position of the prompt.

        Raises:
            EngineError: the engine reports an error, or did not follow the continuation.
            EngineCrashedError: the engine's loop has ended.
        """
        rows: list[Any] = []
        errors: list[Exception] = []

        def force(_ids: Any, row: Any) -> Any:
            try:
                # LMDeploy computes one step beyond the last, and discards its result.
                if errors or not is_prompt_complete() or len(rows) == len(continuation):
                    return row
                # The engine modifies the row in place afterwards.
                rows.append(row.clone())
                forced = row.new_full(row.shape, float("-inf"))
                forced[continuation[len(rows) - 1]] = 0
            except Exception as error:  # the engine's loop would end, as if it had failed itself
                errors.append(error)
                return row
            return forced

        tokens = self._generate(request, len(continuation), logits_processors=[force])
        if errors:
            raise errors[0]
        if tokens != continuation or len(rows) != len(continuation):
            raise EngineError(
                f"forced along {continuation}, LMDeploy generated {tokens} and {len(rows)} rows of logits"
            )
        return [_to_numpy(row) for row in rows]

    def generate_greedy(self, request: EngineRequest, count: int) -> tuple[int, ...]:
        """Return free-running ids at temperature 0, ignoring the end of sequence.

        Raises:
            EngineError: the engine reports an error, or generated fewer ids.
            EngineCrashedError: the engine's loop has ended.
        """
        tokens = self._generate(request, count)
        if len(tokens) != count:
            raise EngineError(f"LMDeploy generated {len(tokens)} of {count} tokens; is max_length too small?")
        return tokens

    def _generate(self, request: EngineRequest, count: int, **options: Any) -> tuple[int, ...]:
        # Not with ignore_eos, for which LMDeploy bans the stop tokens. A request without stop tokens ignores
        # the end of sequence and bans nothing.
        outputs = self._request(request, max_new_tokens=count, **options)
        return tuple(int(token) for output in outputs for token in output.token_ids)

    def _request(self, request: EngineRequest, **options: Any) -> list[Any]:
        from lmdeploy.messages import ResponseType

        outputs: list[Any] = self._run(self._run_in_batch(request, options))
        last = outputs[-1].status if outputs else None
        if last is ResponseType.ENGINE_STOP_ERROR:
            raise EngineCrashedError(
                "LMDeploy's engine loop has ended (ENGINE_STOP_ERROR)"
            ) from get_last_error()
        if last is not ResponseType.FINISH:
            raise EngineError(f"LMDeploy ended the request with {getattr(last, 'name', 'no output')}")
        return outputs

    async def _run_in_batch(self, request: EngineRequest, options: dict[str, Any]) -> list[Any]:
        """Return the outputs of a request that runs together with the companions.

        The first companion is already decoding when the request starts, and all of them last longer.
        """
        tokens = options["max_new_tokens"] + _EXTRA_TOKENS
        tasks: list[asyncio.Task[list[Any]]] = []
        for companion in self._companions:
            started = asyncio.Event()
            stream = self._stream(companion, {"max_new_tokens": tokens}, started)
            tasks.append(asyncio.create_task(stream))
            if len(tasks) == 1:
                await _wait_for_first_output(started, tasks[0])
        # As a task of its own it is queued after the others, and comes after them in the step.
        own = asyncio.create_task(self._stream(request, options))
        await asyncio.gather(own, *tasks)
        return own.result()

    async def _stream(
        self, request: EngineRequest, options: dict[str, Any], started: asyncio.Event | None = None
    ) -> list[Any]:
        """Return the outputs of one request, in a session of its own; set ``started`` at the first output."""
        from lmdeploy import GenerationConfig

        # LMDeploy's own settings for greedy decoding. A different temperature would also scale the last row
        # of the prompt logits.
        config = GenerationConfig(top_k=1, temperature=1.0, repetition_penalty=1.0, **options)
        session = self._engine.session_mgr.get()
        outputs: list[Any] = []
        try:
            async with (
                session.request_handle() as handle,
                self._engine.safe_run(
                    handle, session=session, gen_config=config, stream_output=started is not None, **request
                ) as stream,
            ):
                async for output in stream:
                    outputs.append(output)
                    if started is not None:
                        started.set()
        finally:
            self._engine.session_mgr.remove(session)
        return outputs


async def _wait_for_first_output(started: asyncio.Event, task: asyncio.Task[Any]) -> None:
    """Wait for the event, or for the end of the task that sets it."""
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait({waiting, task}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


def _to_numpy(logits: Any) -> np.ndarray:
    array: np.ndarray = logits.float().cpu().numpy()
    return array
