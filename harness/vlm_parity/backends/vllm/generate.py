"""What vLLM's engine answers: recorded rows along a continuation, and greedy tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from vlm_parity.backends.base import Inputs, Outputs
from vlm_parity.backends.common.modes import PREFIX_CACHED, EngineStep
from vlm_parity.backends.vllm.modes import how_it_ran
from vlm_parity.util.errors import EngineCrashedError


@dataclass(frozen=True)
class _RecordedOutputs:
    """All that was run of one request."""

    steps: tuple[EngineStep, ...]
    arrays: Mapping[str, np.ndarray]
    """As ``CaptureExtension.parity_collect`` gives them, for the positions from the first step's on."""


class LogitsGenerator:
    """Sends requests to a running ``LLM``, in the way that the mode wants."""

    def __init__(
        self, llm: Any, mode: str, arguments: Mapping[str, Any], companions: Sequence[Any] = ()
    ) -> None:
        """Args:
        llm: vLLM's ``LLM``, with ``CaptureExtension`` and ``ForceContinuation`` in it.
        mode: one of ``MODES``, or ``default``.
        arguments: what the engine was told.
        companions: rendered prompts that are to be in the batch with every request.
        """
        self._llm, self._mode, self._arguments, self._companions = llm, mode, arguments, companions
        self._numbers = count()

    def outputs(self, inputs: Inputs, continuation: tuple[int, ...], new_tokens: int) -> Outputs:
        """As in ``Backend.outputs``.

        Raises:
            ModeNotApplicableError: the mode is not possible with this prompt.
            EngineCrashedError: a step raised.
        """
        # Else a picture that an earlier case had would not be seen by the vision tower again.
        self._llm.llm_engine.reset_encoder_cache()
        if self._mode == PREFIX_CACHED:
            self._fill_cache(inputs)
        recorded = self._forced(inputs, continuation)
        ran = how_it_ran(self._mode, inputs, recorded.steps, self._arguments)
        greedy = _get_tokens(self._answer(inputs.prepared, new_tokens))
        cached = recorded.steps[0].first
        prompt = len(inputs.input_ids) - cached
        arrays = recorded.arrays
        embeddings = arrays.get("embeddings")
        return Outputs(
            prefill=arrays["rows"][:prompt],
            decode=arrays["rows"][prompt:],
            continuation=continuation,
            greedy=greedy,
            positions=arrays["positions"][:, :prompt],
            embeddings=embeddings[:prompt] if embeddings is not None else None,
            cached_tokens=cached,
            mode_note=ran,
        )

    def _fill_cache(self, inputs: Inputs) -> None:
        """Asks once, with nothing from other cases in the cache: the next request finds what this left."""
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("vLLM did not empty its prefix cache: some of its blocks are in use")
        self._answer(inputs.prepared, 1)

    def _forced(self, inputs: Inputs, continuation: tuple[int, ...]) -> _RecordedOutputs:
        """What was recorded of every position that the engine ran: those of the prompt, but for a cached
        start, and of the continuation but for its last token.
        """
        expected = inputs.input_ids + continuation[:-1]
        answer = self._answer(
            inputs.prepared,
            len(continuation),
            {"parity_continuation": list(continuation)},
            record=(len(inputs.input_ids), len(expected)),
        )
        if _get_tokens(answer) != continuation:
            raise RuntimeError(f"forced along {continuation}, vLLM generated {_get_tokens(answer)}")
        steps, fed, arrays = self._llm.collective_rpc("parity_collect")[0]
        cached = answer.num_cached_tokens
        if tuple(fed) != expected[cached:]:
            raise RuntimeError(
                f"{len(expected)} positions less {cached} cached ones were to be run, but the worker saw "
                f"the ids {fed}"
            )
        return _RecordedOutputs(tuple(EngineStep(*step) for step in steps), arrays)

    def _answer(
        self,
        prepared: Any,
        new_tokens: int,
        extra: dict[str, Any] | None = None,
        record: tuple[int, int] | None = None,
    ) -> Any:
        """What vLLM answers to one request: its ``RequestOutput``.

        The first companion is a step ahead, so that the prompt meets a request that is decoding. All of
        them last for as long as the request does.

        Args:
            prepared: what vLLM's renderer made of the case.
            new_tokens: how many.
            extra: for the logits processor.
            record: the positions of the prompt, and all that are to be run, if they are to be recorded.
        """
        # LLM.generate would take the ids of a rendered prompt and drop its media.
        engine = self._llm.llm_engine
        name = f"parity-{next(self._numbers)}"
        answers = []
        try:
            for number, companion in enumerate(self._companions):
                engine.add_request(f"{name}-beside-{number}", companion, self._sampling(new_tokens + 1))
                if number == 0:
                    engine.step()
            request = engine.add_request(name, prepared, self._sampling(new_tokens, extra))
            if record is not None:
                self._llm.collective_rpc("parity_arm", args=(request, *record))
            while engine.has_unfinished_requests():
                answers += [answer for answer in engine.step() if answer.finished]
        except Exception as problem:  # what is left of the request would be run with the next one
            raise EngineCrashedError(f"{type(problem).__name__}: {problem}") from problem
        own = [answer for answer in answers if answer.request_id == name]
        if len(own) != 1:
            raise RuntimeError(f"request {name} ended with {len(own)} answers")
        return own[0]

    def _sampling(self, new_tokens: int, extra: dict[str, Any] | None = None) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            temperature=0,
            max_tokens=new_tokens,
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            skip_reading_prefix_cache=self._mode != PREFIX_CACHED,
            extra_args=extra,
        )


def _get_tokens(answer: Any) -> tuple[int, ...]:
    return tuple(answer.outputs[0].token_ids)
