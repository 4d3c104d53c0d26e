"""Recording inside LMDeploy's engine: its loop never sees an error of the recording."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vlm_parity.backends.common.modes import EngineStep
from vlm_parity.backends.lmdeploy.given_values import GivenValues
from vlm_parity.backends.lmdeploy.prompt_recorder import PromptRecorder, RecordedPrompt


class Model:
    """A language model."""

    def forward(self) -> None:
        raise AssertionError("the engine runs it")


class Agent:
    """The model agent of an engine."""

    def __init__(self) -> None:
        self.steps: list[Any] = []
        self.get_logits = None
        model = SimpleNamespace(language_model=Model(), get_input_embeddings=lambda: None)
        self.patched_model = SimpleNamespace(get_model=lambda: model)

    def _forward_impl(self, inputs: Any) -> str:
        self.steps.append(inputs)
        return "output"


def make_recorder() -> tuple[Agent, PromptRecorder]:
    agent = Agent()
    engine = SimpleNamespace(engine=SimpleNamespace(executor=SimpleNamespace(model_agent=agent)))
    return agent, PromptRecorder(engine)


@pytest.mark.parametrize(
    "inputs",
    [
        SimpleNamespace(),
        SimpleNamespace(is_decoding=False),
        SimpleNamespace(is_decoding=False, input_ids=["no tensor"]),
    ],
)
def test_an_error_of_the_recording_is_raised_after_the_step(inputs: Any) -> None:
    agent, recorder = make_recorder()
    outputs: list[str] = []
    with pytest.raises(AttributeError), recorder.record([1, 2], logits=False):
        outputs += [agent._forward_impl(inputs), agent._forward_impl(inputs)]
    assert outputs == ["output", "output"]
    assert agent.steps == [inputs, inputs]


def test_an_error_while_values_are_given_is_raised_after_the_step() -> None:
    agent, recorder = make_recorder()
    own_forward = agent._forward_impl
    values = GivenValues((1, 2), np.zeros((3, 2), np.int64), (), None, 0)
    outputs: list[str] = []
    with pytest.raises(AttributeError), recorder.give(values):
        outputs.append(agent._forward_impl(SimpleNamespace()))
    assert outputs == ["output"]
    assert agent._forward_impl == own_forward


def test_pieces_without_deep_features_have_zeros_there() -> None:
    prompt = RecordedPrompt([1, 2, 3])
    pieces = (np.ones((1, 2), np.float32), np.full((1, 6), 2, np.float32), None)
    for first, piece in enumerate(pieces):
        prompt.add_step(EngineStep(first, 1, 1), np.zeros((1, 1), np.int64), piece, None)
    assert prompt.embeddings is not None
    assert prompt.embeddings[:2].tolist() == [[1, 1, 0, 0, 0, 0], [2] * 6]
    assert np.isnan(prompt.embeddings[2]).all()


def test_a_prompt_that_is_embedded_inside_the_model_has_no_embeddings() -> None:
    prompt = RecordedPrompt([1])
    prompt.add_step(EngineStep(0, 1, 1), np.zeros((1, 1), np.int64), None, None)
    assert prompt.embeddings is None
