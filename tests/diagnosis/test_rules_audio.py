"""Explanations of audio that differs: each cause alone, with its numbers."""

from __future__ import annotations

import numpy as np
import pytest

from tests.diagnosis.test_rules_media import Given, explain

MEL = np.random.default_rng(4).normal(-1, 0.7, (100, 16)).astype(np.float32)
GENERAL = "mel features differ"


def audio(values: np.ndarray) -> list[Given]:
    return [Given(values.astype(np.float32), modality="audio", array="input_features")]


def causes(tested: np.ndarray, reference: np.ndarray = MEL) -> list[str]:
    return [diagnosis.cause for diagnosis in explain(audio(reference), audio(tested))]


@pytest.mark.parametrize(
    ("cause", "tested"),
    [
        ("audio length differs", MEL[:33]),
        ("audio length differs", np.concatenate([MEL, MEL[:1]])),
        ("audio shifted", np.roll(MEL, 2, axis=0)),
        ("audio shifted", np.roll(MEL, -1, axis=0)),
        ("mel normalization differs", MEL * 1.5),
        ("mel normalization differs", MEL + 0.25),
    ],
)
def test_each_is_named_with_the_numbers_as_well(cause: str, tested: np.ndarray) -> None:
    assert causes(tested) == [cause, GENERAL]


def test_anything_else_is_described_in_numbers_only() -> None:
    other = MEL.copy()
    other[40:43] += np.sin(MEL[40:43] * 9)
    (only,) = explain(audio(MEL), audio(other))
    assert only.cause == GENERAL
    assert only.explanation.startswith("3 of 100 mel frames of audio 0 differ in vllm, from 40 to 42, by")


def test_explanations_hold_the_numbers() -> None:
    words = [
        explain(audio(MEL), audio(tested))[0].explanation
        for tested in (MEL[:50], np.roll(MEL, 3, 0), MEL * 2)
    ]
    assert "50 mel frames in vllm and 100 in the reference (0.5 times as many)" in words[0]
    assert "3 frames later in vllm" in words[1]
    assert "times 2 plus" in words[2]


def test_silence_has_no_normalization() -> None:
    silence = np.zeros_like(MEL)
    assert causes(silence + 1, silence) == [GENERAL]
