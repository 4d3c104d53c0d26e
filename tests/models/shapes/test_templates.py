"""Checkpoints of other template shapes: the files that differ, and what the templates render."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.families.base import read_template
from vlm_parity.models.registry import FAMILIES
from vlm_parity.models.resolve import get_model_name, is_model_spec, resolve_model
from vlm_parity.models.shapes import templates
from vlm_parity.models.shapes.templates import FAMILIES_WITH_SHAPES, SHAPES, split_spec

SPECS = [f"{family}:{shape}" for family in FAMILIES_WITH_SHAPES for shape in SHAPES]
IMAGE = {"type": "image"}


@pytest.fixture
def base(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Checkpoint:
    """Return a checkpoint in place of the synthetic one, which needs torch."""
    assert not cache.exists()
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "tokenizer_config.json").write_text('{"chat_template": "own", "other": 1}')
    (folder / "chat_template.json").write_text('{"chat_template": "own"}')
    (folder / "manifest.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    checkpoint = Checkpoint("qwen2_5_vl", "qwen2_5_vl", folder, "synthetic", "digest")
    monkeypatch.setattr(templates, "build_checkpoint", lambda *_: checkpoint)
    return checkpoint


def read_templates(folder: Path) -> tuple[str, str]:
    files = (folder / name for name in ("tokenizer_config.json", "chat_template.json"))
    tokenizer, processor = (json.loads(file.read_text("utf-8"))["chat_template"] for file in files)
    return tokenizer, processor


def test_two_templates_differ_in_the_tokenizer_alone(base: Checkpoint) -> None:
    checkpoint = resolve_model("qwen2_5_vl:two_templates")
    tokenizer, processor = read_templates(checkpoint.path)
    assert processor == "own"
    assert "# Tools" in tokenizer
    assert json.loads((checkpoint.path / "tokenizer_config.json").read_text("utf-8"))["other"] == 1
    assert (checkpoint.path / "model.safetensors").read_bytes() == b"weights"
    assert (checkpoint.name, checkpoint.family) == ("qwen2_5_vl-two_templates", "qwen2_5_vl")
    assert checkpoint.digest != base.digest


def test_the_checkpoint_of_the_family_stays_as_it_is(base: Checkpoint) -> None:
    resolve_model("qwen2_5_vl:macro")
    assert read_templates(base.path) == ("own", "own")


@pytest.mark.usefixtures("base")
def test_a_shape_is_built_once() -> None:
    first, second = resolve_model("qwen2_5_vl:macro"), resolve_model("qwen2_5_vl:macro")
    assert (first.path, first.digest) == (second.path, second.digest)


@pytest.mark.parametrize("spec", SPECS)
def test_a_shape_is_a_model(spec: str) -> None:
    assert is_model_spec(spec, {})
    assert get_model_name(spec) == spec.replace(":", "-")
    assert split_spec(spec)[0] in FAMILIES


@pytest.mark.parametrize("spec", ["qwen2_5_vl:none", "gemma3:macro", ":macro", "qwen2_5_vl"])
def test_another_spec_has_no_shape(spec: str) -> None:
    assert split_spec(spec) == (spec, "")


def render(template: str, messages: list[dict[str, Any]]) -> str:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(messages=messages, add_generation_prompt=True)


texts = st.text(max_size=5)
contents = texts | st.lists(
    st.just(IMAGE) | texts.map(lambda text: {"type": "text", "text": text}), max_size=3
)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["user", "assistant", "system"]), "content": contents}
        ),
        min_size=1,
        max_size=3,
    )
)
def test_the_macro_renders_what_the_template_of_the_family_does(messages: list[dict[str, Any]]) -> None:
    """Leave nothing but the form of the template to make a difference."""
    macro = (Path(templates.__file__).parent / "macro.jinja").read_text("utf-8")
    assert render(macro, messages) == render(read_template("qwen_vl_base"), messages)
