"""Logits along a continuation, and greedy tokens, from vLLM's engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from vlm_parity.backends.base import Inputs, Outputs
from vlm_parity.backends.common.modes import EngineStep
from vlm_parity.backends.vllm.modes import describe_run
from vlm_parity.schema.engine_setup import PREFIX_CACHED
from vlm_parity.util.errors import EngineCrashedError, EngineError, HookError


@dataclass(frozen=True)
class _RecordedOutputs:
    """The recorded steps of one request."""

    steps: tuple[EngineStep, ...]
    arrays: Mapping[str, np.ndarray]
    """As returned by ``CaptureExtension.parity_collect``, from the first position that was run."""
    deep_levels: int
    """As in ``Outputs``."""


class LogitsGenerator:
    """Sends requests to a running ``LLM`` according to the mode."""

    def __init__(
        self, llm: Any, mode: str, arguments: Mapping[str, Any], companions: Sequence[Any] = ()
    ) -> None:
        """Store the engine and its mode.

        Args:
            llm: vLLM's ``LLM``, with ``CaptureExtension`` and ``ForceContinuation``.
            mode: one of ``MODES``, or ``default``.
            arguments: the engine's arguments.
            companions: rendered prompts to run in one batch with every request.
        """
        self._llm, self._mode, self._arguments, self._companions = llm, mode, arguments, companions
        self._numbers = count()

    def outputs(self, inputs: Inputs, continuation: tuple[int, ...], new_tokens: int) -> Outputs:
        """Run one request; see ``Backend.outputs``.

        Raises:
            ModeNotApplicableError: the mode has no effect on this prompt.
            EngineError: vLLM did not follow the request.
            EngineCrashedError: a step raised an error.
            HookError: the harness could not record the request.
        """
        # An image of an earlier case would otherwise skip the vision tower.
        self._llm.llm_engine.reset_encoder_cache()
        if self._mode == PREFIX_CACHED:
            self._fill_cache(inputs)
        recorded = self._force(inputs, continuation)
        mode_note = describe_run(self._mode, inputs, recorded.steps, self._arguments)
        greedy = _get_tokens(self._generate(inputs.prepared, new_tokens))
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
            deep_levels=recorded.deep_levels,
            decode_positions=arrays["positions"][:, prompt:],
            cached_tokens=cached,
            mode_note=mode_note,
        )

    def _fill_cache(self, inputs: Inputs) -> None:
        """Run the prompt once on an empty prefix cache, after the same conversation with other media.

        The next request may read blocks of this prompt, and none that hold other media.
        """
        if not self._llm.reset_prefix_cache():
            raise EngineError("vLLM did not empty its prefix cache: some of its blocks are in use")
        if inputs.decoy is not None:
            self._generate(inputs.decoy, 1)
        self._generate(inputs.prepared, 1)

    def _force(self, inputs: Inputs, continuation: tuple[int, ...]) -> _RecordedOutputs:
        """Record a request along a continuation.

        Recorded are the positions of the prompt, without a cached start, and of the continuation without its
        last id.
        """
        expected = inputs.input_ids + continuation[:-1]
        output = self._generate(
            inputs.prepared,
            len(continuation),
            {"parity_continuation": list(continuation)},
            record=(len(inputs.input_ids), len(expected)),
        )
        self._check_recording()
        if _get_tokens(output) != continuation:
            raise EngineError(f"forced along {continuation}, vLLM generated {_get_tokens(output)}")
        steps, ids, deep_levels, arrays = self._llm.collective_rpc("parity_collect")[0]
        cached = output.num_cached_tokens
        if tuple(ids) != expected[cached:]:
            raise EngineError(
                f"expected {len(expected)} positions, {cached} of them cached, but vLLM's worker ran {ids}"
            )
        return _RecordedOutputs(tuple(EngineStep(*step) for step in steps), arrays, deep_levels)

    def _check_recording(self) -> None:
        """Check that no worker failed to record the request.

        Raises:
            HookError: the harness's extension failed in a worker.
            EngineError: vLLM failed while the extension called it.
        """
        for error in self._llm.collective_rpc("parity_find_error"):
            if error is not None:
                is_own, description = error
                raise HookError(description) if is_own else EngineError(description)

    def _generate(
        self,
        prepared: Any,
        new_tokens: int,
        extra_args: dict[str, Any] | None = None,
        record: tuple[int, int] | None = None,
    ) -> Any:
        """Return vLLM's ``RequestOutput`` for one request.

        The first companion starts one step earlier, so that the prompt runs together with a request that is
        decoding. All of them last for as long as the request does.

        Args:
            prepared: a prompt rendered by vLLM.
            new_tokens: number of ids to generate.
            extra_args: arguments of the logits processor.
            record: number of prompt positions, and of all positions to be run; None to record nothing.

        Raises:
            EngineCrashedError: a step raised an error.
        """
        # LLM.generate would use the ids of a rendered prompt and drop its media.
        engine = self._llm.llm_engine
        name = f"parity-{next(self._numbers)}"
        outputs = []
        try:
            for number, companion in enumerate(self._companions):
                params = self._build_sampling_params(new_tokens + 1)
                engine.add_request(f"{name}-companion-{number}", companion, params)
                if number == 0:
                    engine.step()
            params = self._build_sampling_params(new_tokens, extra_args)
            request = engine.add_request(name, prepared, params)
            if record is not None:
                self._llm.collective_rpc("parity_arm", args=(request, *record))
            while engine.has_unfinished_requests():
                outputs += [output for output in engine.step() if output.finished]
        except Exception as error:  # the rest of the request would run together with the next one
            raise EngineCrashedError(f"{type(error).__name__}: {error}") from error
        own = [output for output in outputs if output.request_id == name]
        if len(own) != 1:
            raise EngineError(f"request {name} ended with {len(own)} outputs")
        return own[0]

    def _build_sampling_params(self, new_tokens: int, extra_args: dict[str, Any] | None = None) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            temperature=0,
            max_tokens=new_tokens,
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            skip_reading_prefix_cache=self._mode != PREFIX_CACHED,
            extra_args=extra_args,
        )


def _get_tokens(output: Any) -> tuple[int, ...]:
    return tuple(output.outputs[0].token_ids)
