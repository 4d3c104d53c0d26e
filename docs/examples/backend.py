"""A third-party backend: transformers itself as the engine under test, with an optional injected fault.

Register it in the ``pyproject.toml`` of your own package::

    [project.entry-points."vlm_parity.backends"]
    echo = "echo_backend:EchoBackend"

and run it::

    parity run --backend echo --model qwen2_vl
    parity run --backend echo --model qwen2_vl --engine-arg placeholder_id=0     # a mismatch at input_ids
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from vlm_parity import Backend, Checkpoint, Inputs, Outputs, Request, Settings, TransformersBackend

PLACEHOLDER_ID = "placeholder_id"
"""Engine argument: the id to report in place of every image, video and audio placeholder."""


class EchoBackend(Backend):
    """An engine that preprocesses and generates exactly as transformers does."""

    name = "echo"
    engine = "transformers"
    packages = ("transformers", "tokenizers", "torch", "torchvision", "numpy", "pillow")
    tensor_parallel = ""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        engine_args = dict(settings.engine_args)
        self._placeholder_id: int | None = engine_args.pop(PLACEHOLDER_ID, None)
        self._engine = TransformersBackend(replace(settings, engine_args=engine_args))

    def load(self, checkpoint: Checkpoint) -> None:
        """Load the processor, and at depth ``logits`` the model."""
        self._engine.load(checkpoint)

    def inputs(self, request: Request) -> Inputs:
        """Return prompt, ids, spans, media and positions of one case."""
        inputs = self._engine.inputs(request)
        if self._placeholder_id is None:
            return inputs
        embedded = {position for span in inputs.spans or () for position in span.positions}
        input_ids = tuple(
            self._placeholder_id if position in embedded else token
            for position, token in enumerate(inputs.input_ids)
        )
        return replace(inputs, input_ids=input_ids)

    def outputs(self, inputs: Inputs, continuation: tuple[int, ...] | None, new_tokens: int) -> Outputs:
        """Return the logits of the prompt and along ``continuation``, and ``new_tokens`` greedy tokens."""
        return self._engine.outputs(inputs, continuation, new_tokens)

    def decode_token_texts(self, ids: Iterable[int]) -> dict[int, str]:
        """Return the text of each id."""
        return self._engine.decode_token_texts(ids)
