"""Chat templates, rendered like transformers does: what holds for all of them, and errors as released."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import jinja2
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from vlm_parity.models.build import list_recipe_files
from vlm_parity.models.families import base
from vlm_parity.models.families.base import read_template
from vlm_parity.models.registry import FAMILIES, load_family

FILES = {name: (name,) for name in FAMILIES} | {
    "qwen2_vl": ("qwen_vl_base",),
    "qwen2_5_vl": ("qwen_vl_base",),
    "qwen3_5": ("qwen3_5.content", "qwen3_5.turns"),
    "minicpmv4_6": ("minicpmv4_6.content", "qwen3_5.turns"),
}
"""Template files of each family."""
TEXT = {"type": "text", "text": "What?"}
MARKED = [
    (name, modality)
    for name in FAMILIES
    for modality in load_family(name).modalities
    if name != "paligemma"  # whose template writes only texts
]
"""Families and modalities with a text for each medium."""


def render(name: str, *messages: dict[str, Any], **options: Any) -> str:
    """Render the template of a family.

    Source: ``_compile_jinja_template`` of ``transformers.utils.chat_template_utils``.
    """

    def raise_exception(message: str) -> None:
        raise jinja2.exceptions.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = raise_exception
    compiled = environment.from_string(read_template(*FILES[name]))
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    return compiled.render(messages=messages, add_generation_prompt=True, **tokens, **options)


def write_turn(role: str, *parts: dict[str, str]) -> dict[str, Any]:
    return {"role": role, "content": [*parts]}


@pytest.mark.parametrize("name", FAMILIES)
def test_recipe_includes_the_template(name: str) -> None:
    """A changed template has to cause a new build."""
    recipe = {file.name for file in list_recipe_files(FAMILIES[name].partition(":")[0])}
    assert recipe >= {f"{file}.jinja" for file in FILES[name]}


def test_every_template_belongs_to_a_family() -> None:
    folder = Path(base.__file__).parent
    assert {file.stem for file in folder.glob("*.jinja")} == {
        file for files in FILES.values() for file in files
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_user_text_is_written_once(name: str) -> None:
    assert render(name, write_turn("user", TEXT)).count("What?") == 1


@pytest.mark.parametrize(("name", "modality"), MARKED)
def test_each_medium_is_written_alike(name: str, modality: str) -> None:
    lengths = [
        len(render(name, write_turn("user", TEXT, *[{"type": modality}] * count))) for count in range(4)
    ]
    steps = {after - before for before, after in pairwise(lengths)}
    assert len(steps) == 1
    assert min(steps) > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_texts_as_parts_is_false_if_the_template_writes_parts_like_python(name: str) -> None:
    answer = write_turn("assistant", {"type": "text", "text": "A cat."})
    rendered = render(name, write_turn("user", TEXT), answer, write_turn("user", TEXT))
    assert "A cat." in rendered
    assert ("[{" not in rendered) == load_family(name).texts_as_parts


def test_thoughts_are_kept_only_after_the_last_question() -> None:
    question = write_turn("user", TEXT)
    answer = write_turn("assistant", {"type": "text", "text": "<think>\nHm.\n</think>\n\nA cat."})
    assert "Hm." in render("qwen3_5", question, answer)
    assert "Hm." not in render("qwen3_5", question, answer, question)


@pytest.mark.parametrize(("name", "thinks_by_default"), [("qwen3_5", True), ("minicpmv4_6", False)])
def test_thinking_can_be_switched(name: str, thinks_by_default: bool) -> None:
    question = write_turn("user", TEXT)
    thinking, answering = (render(name, question, enable_thinking=enabled) for enabled in (True, False))
    assert thinking.endswith("<think>\n")
    assert answering.endswith("<think>\n\n</think>\n\n")
    assert render(name, question) == (thinking if thinks_by_default else answering)


@pytest.mark.parametrize("name", ["qwen3_5", "minicpmv4_6"])
@pytest.mark.parametrize(
    ("messages", "error"),
    [
        (
            (write_turn("user", TEXT), write_turn("system", TEXT)),
            "System message must be at the beginning.",
        ),
        ((write_turn("system", TEXT),), "No user query found in messages."),
        (
            (write_turn("system", {"type": "image"}), write_turn("user", TEXT)),
            "System message cannot contain images",
        ),
    ],
)
def test_invalid_conversations_raise_the_released_errors(
    name: str, messages: tuple[dict[str, Any], ...], error: str
) -> None:
    with pytest.raises(jinja2.exceptions.TemplateError, match=error):
        render(name, *messages)
