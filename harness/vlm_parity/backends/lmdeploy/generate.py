"""What LMDeploy's engine answers: logits of the prompt, along a continuation, and greedy tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np

from vlm_parity.util.errors import EngineCrashedError, EngineError

EngineRequest = dict[str, Any]
"""``input_ids`` and, where the case has media, ``multimodal``: what LMDeploy's front end returned."""


_EXTRA_LENGTH = (
    64  # tokens by which those beside a request outlive it; LMDeploy lets prompts wait for up to 16
)


class LogitsGenerator:
    """Sends requests to a running ``AsyncEngine``, each in a session of its own."""

    def __init__(
        self,
        engine: Any,
        run: Callable[[Coroutine[Any, Any, Any]], Any],
        companions: Sequence[EngineRequest] = (),
    ) -> None:
        """Args:
        engine: the ``async_engine`` of a pipeline.
        run: runs a coroutine to its end in the engine's event loop.
        companions: requests that are to be in the batch with every other; without any, requests go
            one at a time.
        """
        self._engine = engine
        self._run = run
        self._companions = tuple(companions)

    def prompt_logits(self, request: EngineRequest) -> np.ndarray:
        """Raw logits of every prompt position: float32 [prompt positions, vocabulary]."""
        logits = self._ask(request, max_new_tokens=0, output_logits="all")[-1].logits
        self._flush(request)
        expected = len(request["input_ids"])
        if logits is None or len(logits) != expected:
            given = "none" if logits is None else len(logits)
            raise EngineError(f"LMDeploy gave {given} rows of prompt logits, not {expected}")
        return _to_numpy(logits)

    def _flush(self, request: EngineRequest) -> None:
        """Asks for a token that nobody needs, so that no later request is harmed.

        LMDeploy 0.18 leaves a request without new tokens behind in its model agent's batch, but not
        in its scheduler's list of running ones: the next request is then decoded from the state of
        the one before. The same prompt must take that harm: it needs as many cache blocks.
        """
        self._ask(request, max_new_tokens=1)

    def forced_logits(
        self,
        request: EngineRequest,
        continuation: tuple[int, ...],
        prompt_is_run: Callable[[], bool] = lambda: True,
    ) -> list[np.ndarray]:
        """Raw logits along a continuation, through the cache.

        Args:
            request: what is asked.
            continuation: the tokens to follow.
            prompt_is_run: whether all of the prompt has been run by now. LMDeploy has a token chosen after
                each piece of a prompt, and throws all of them away but the last.

        Returns:
            A row, float32 [vocabulary], for each token: what that token is chosen from. The first
            one therefore belongs to the last position of the prompt.
        """
        rows: list[Any] = []

        def force(_ids: Any, row: Any) -> Any:
            # LMDeploy computes a step ahead of its own stop, and throws away what comes of it.
            if not prompt_is_run() or len(rows) == len(continuation):
                return row
            # The engine goes on to change the row in place.
            rows.append(row.clone())
            only = row.new_full(row.shape, float("-inf"))
            only[continuation[len(rows) - 1]] = 0
            return only

        tokens = self._generate(request, len(continuation), logits_processors=[force])
        if tokens != continuation or len(rows) != len(continuation):
            raise EngineError(
                f"LMDeploy was to follow {continuation}, but went {tokens} and gave {len(rows)} rows"
            )
        return [_to_numpy(row) for row in rows]

    def greedy(self, request: EngineRequest, count: int) -> tuple[int, ...]:
        """The free-running tokens at temperature 0; the end of the sequence is a token like others."""
        tokens = self._generate(request, count)
        if len(tokens) != count:
            raise EngineError(f"LMDeploy gave {len(tokens)} tokens of {count}; is max_length too small?")
        return tokens

    def _generate(self, request: EngineRequest, count: int, **options: Any) -> tuple[int, ...]:
        # Not by ignore_eos: LMDeploy makes banned words of the stop tokens that it is to ignore.
        # A request that names no stop token is stopped by none and has none banned.
        answers = self._ask(request, max_new_tokens=count, **options)
        return tuple(int(token) for answer in answers for token in answer.token_ids)

    def _ask(self, request: EngineRequest, **options: Any) -> list[Any]:
        from lmdeploy.messages import ResponseType

        answers: list[Any] = self._run(self._beside(request, options))
        last = answers[-1].status if answers else None
        if last is ResponseType.ENGINE_STOP_ERROR:
            raise EngineCrashedError("LMDeploy's engine loop is dead (ENGINE_STOP_ERROR)")
        if last is not ResponseType.FINISH:
            raise EngineError(f"LMDeploy ended the request with {getattr(last, 'name', 'no answer')}")
        return answers

    async def _beside(self, request: EngineRequest, options: dict[str, Any]) -> list[Any]:
        """The pieces of one answer, while the companions are answered: the first of them decodes already
        when the request comes, and all of them go on for longer than it.
        """
        tokens = options["max_new_tokens"] + _EXTRA_LENGTH
        tasks: list[asyncio.Task[list[Any]]] = []
        for companion in self._companions:
            begun = asyncio.Event()
            stream = self._stream(companion, {"max_new_tokens": tokens}, begun)
            tasks.append(asyncio.create_task(stream))
            if len(tasks) == 1:
                await _first_output(begun, tasks[0])
        # As a task of its own it queues up behind the others, and so stands behind them in the step.
        own = asyncio.create_task(self._stream(request, options))
        await asyncio.gather(own, *tasks)
        return own.result()

    async def _stream(
        self, request: EngineRequest, options: dict[str, Any], begun: asyncio.Event | None = None
    ) -> list[Any]:
        """The pieces of one answer; ``begun`` is set with the first. Its session ends with it."""
        from lmdeploy import GenerationConfig

        # As LMDeploy itself sets these for greedy decoding. Another temperature would also scale
        # the last row of the prompt's logits.
        config = GenerationConfig(top_k=1, temperature=1.0, repetition_penalty=1.0, **options)
        session = self._engine.session_mgr.get()
        answers: list[Any] = []
        try:
            async with (
                session.request_handle() as handle,
                self._engine.safe_run(
                    handle, session=session, gen_config=config, stream_output=begun is not None, **request
                ) as stream,
            ):
                async for answer in stream:
                    answers.append(answer)
                    if begun is not None:
                        begun.set()
        finally:
            self._engine.session_mgr.remove(session)
        return answers


async def _first_output(begun: asyncio.Event, task: asyncio.Task[Any]) -> None:
    """Waits for the event, or for the end of the task that was to set it."""
    waiting = asyncio.create_task(begun.wait())
    await asyncio.wait({waiting, task}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


def _to_numpy(logits: Any) -> np.ndarray:
    array: np.ndarray = logits.float().cpu().numpy()
    return array
