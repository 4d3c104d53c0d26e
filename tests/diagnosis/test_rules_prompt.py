"""Explanations of different prompts, and of ids of different texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.findings import (
    ANSWER,
    IMAGE,
    SYSTEM,
    VIDEO,
    explain_traces,
    format_turn,
    list_found_causes,
    render_text,
)

CONVERSATION = format_turn(f"Look at this {IMAGE} and tell me which corner is green.")
TWO_KINDS = format_turn(f"{VIDEO}Is it from {IMAGE}?")
TWO_TEXTS = format_turn("Name a color. And a fruit of it.")

DIFFERENCES = {
    "a line feed behind a turn is gone": (
        "chat template whitespace differs",
        CONVERSATION,
        CONVERSATION.replace("<|im_end|>\n", "<|im_end|>"),
    ),
    "a space behind the role": (
        "chat template whitespace differs",
        CONVERSATION,
        CONVERSATION.replace("user\n", "user \n"),
    ),
    "a line feed too many in the end": (
        "chat template whitespace differs",
        CONVERSATION,
        CONVERSATION + "\n",
    ),
    "the end of a text is trimmed": (
        "chat template whitespace differs",
        format_turn("Look! "),
        format_turn("Look!"),
    ),
    "a line feed between two texts": (
        "text part separator differs",
        TWO_TEXTS,
        TWO_TEXTS.replace(". And", ".\n And"),
    ),
    "a space between two texts is gone": (
        "text part separator differs",
        TWO_TEXTS,
        TWO_TEXTS.replace(". And", ".And"),
    ),
    "a line feed between image and text": (
        "text part separator differs",
        format_turn(f"{IMAGE}What?"),
        format_turn(f"{IMAGE}\nWhat?"),
    ),
    "a comma between two texts": (
        "text part separator differs",
        TWO_TEXTS,
        TWO_TEXTS.replace(". And", "., And"),
    ),
    "the text behind an image": (
        "text part dropped",
        CONVERSATION,
        CONVERSATION.replace(" and tell me which corner is green.", ""),
    ),
    "the text before an image": (
        "text part dropped",
        CONVERSATION,
        CONVERSATION.replace("Look at this ", ""),
    ),
    "a text gone, the image first": ("text part dropped", CONVERSATION, format_turn(f"{IMAGE}Look at this")),
    "no system turn": ("system prompt missing or added", CONVERSATION, CONVERSATION.removeprefix(SYSTEM)),
    "a system turn": ("system prompt missing or added", CONVERSATION.removeprefix(SYSTEM), CONVERSATION),
    "other words of the system": (
        "system prompt differs",
        CONVERSATION,
        CONVERSATION.replace("a helpful", "Qwen, a kind"),
    ),
    "no header of the answer": (
        "generation prompt missing or added",
        CONVERSATION,
        CONVERSATION.removesuffix(ANSWER),
    ),
    "a header of the answer": (
        "generation prompt missing or added",
        CONVERSATION.removesuffix(ANSWER),
        CONVERSATION,
    ),
    "the image first": (
        "media placed elsewhere in the prompt",
        CONVERSATION,
        format_turn(f"{IMAGE}\nLook at this \nand tell me which corner is green."),
    ),
    "video and image change places": (
        "media reordered",
        TWO_KINDS,
        format_turn(f"{IMAGE}Is it from {VIDEO}?"),
    ),
    "another border": (
        "special tokens around media differ",
        CONVERSATION,
        CONVERSATION.replace("<|vision_start|>", "<|box_start|>"),
    ),
    "no border": (
        "special tokens around media differ",
        CONVERSATION,
        CONVERSATION.replace("<|vision_end|>", ""),
    ),
}
"""Changes of a text, with the expected causes."""
MUTE = {
    "another word": (CONVERSATION, CONVERSATION.replace("green", "red")),
    "a word more": (CONVERSATION, CONVERSATION.replace("green", "green or red")),
    "words the other way round": (TWO_TEXTS, TWO_TEXTS.replace("Name a color", "color a Name")),
    "a turn less": (
        f"{CONVERSATION}Red.<|im_end|>\n<|im_start|>user\nSure?<|im_end|>\n{ANSWER}",
        CONVERSATION,
    ),
    "an image less": (format_turn(f"{IMAGE}{IMAGE}What?"), format_turn(f"{IMAGE}What?")),
}
"""Differences that none of these rules knows."""

every_difference = pytest.mark.parametrize(
    ("cause", "reference", "tested"), DIFFERENCES.values(), ids=DIFFERENCES
)


@every_difference
def test_it_is_named_in_the_prompt(cause: str, reference: str, tested: str) -> None:
    found = explain_traces(
        render_text(reference, 6, 6, prompt=reference), render_text(tested, 6, 6, prompt=tested)
    )
    assert [diagnosis.cause for diagnosis in found] == [cause]
    assert found[0].confidence >= 0.6


@every_difference
def test_it_is_named_in_the_ids_where_prompts_tell_nothing(cause: str, reference: str, tested: str) -> None:
    assert list_found_causes(render_text(reference, 6, 6), render_text(tested, 6, 6))[0] == cause


@pytest.mark.parametrize("texts", [texts for _, *texts in DIFFERENCES.values()], ids=DIFFERENCES)
def test_neither_side_is_named_against_itself(texts: list[str]) -> None:
    for text in texts:
        assert not explain_traces(render_text(text, 6, 6, prompt=text), render_text(text, 6, 6, prompt=text))


@pytest.mark.parametrize(("reference", "tested"), MUTE.values(), ids=MUTE)
def test_nothing_is_said_of_other_differences(reference: str, tested: str) -> None:
    assert list_found_causes(render_text("", prompt=reference), render_text("", prompt=tested)) == []


def test_explanations_hold_the_words_of_the_case() -> None:
    tested = CONVERSATION.replace(" and tell me which corner is green.", "")
    (found,) = explain_traces(render_text("", prompt=CONVERSATION), render_text("", prompt=tested))
    assert found.explanation == (
        'vllm omits "and tell me which corner is green." between "<|vision_end|>" and "<|im_end|>"; '
        "all other text is present."
    )


def test_line_feeds_are_shown_as_escapes_and_long_texts_cut() -> None:
    long = "word " * 100
    (joined,) = explain_traces(
        render_text("", prompt=TWO_TEXTS), render_text("", prompt=TWO_TEXTS.replace(". And", ".\n And"))
    )
    assert 'vllm adds "\\n" between "." and "And", at 1 place' in joined.explanation
    (dropped,) = explain_traces(
        render_text("", prompt=format_turn(f"{IMAGE}{long}")), render_text("", prompt=format_turn(IMAGE))
    )
    assert len(dropped.explanation) < 300


WORDS = ("red", "green", "blue", "Look", "here", "corner", "fruit", "name")
words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)


@given(st.permutations(WORDS), st.integers(2, 8), st.sampled_from(["\n", "\n\n", " | ", "; "]))
def test_parts_joined_by_anything_are_named(said: list[str], count: int, separator: str) -> None:
    reference, tested = (
        format_turn(". ".join(said[:count])),
        format_turn((". " + separator).join(said[:count])),
    )
    assert list_found_causes(render_text("", prompt=reference), render_text("", prompt=tested)) == [
        "text part separator differs"
    ]


@given(words, words, st.booleans())
def test_a_dropped_part_is_named_whatever_it_says(before: str, behind: str, first: bool) -> None:
    reference = format_turn(f"{before}{IMAGE}{behind}")
    tested = format_turn(f"{IMAGE}{behind}" if first else f"{before}{IMAGE}")
    (found,) = explain_traces(render_text("", prompt=reference), render_text("", prompt=tested))
    assert found.cause == "text part dropped"
    assert f'"{before if first else behind}"' in found.explanation
    assert "a medium stands" not in found.explanation


def test_a_dropped_part_hides_no_image_that_moved() -> None:
    (found,) = explain_traces(
        render_text("", prompt=CONVERSATION), render_text("", prompt=format_turn(f"{IMAGE}Look at this"))
    )
    assert found.explanation.endswith(', except that a medium is placed before "Look at this", not after it.')


def test_the_header_of_an_answer_that_is_left_out_beside_another_difference() -> None:
    reference = render_text(f"{SYSTEM}<|im_start|>assistant\nYes<|im_end|>\n{ANSWER}")
    for continued in (f"{SYSTEM}<|im_start|>assistant\nYes\n", f"{SYSTEM}\n<|im_start|>assistant\nYes\n"):
        found = explain_traces(reference, render_text(continued))
        assert found[0].cause == "generation prompt missing or added"
        assert "ends with the generation prompt " in found[0].explanation


def test_a_video_that_becomes_an_image() -> None:
    video, image = format_turn(f"{VIDEO}What is it?"), format_turn(f"{IMAGE}What is it?")
    found = explain_traces(render_text(video, 4, prompt=video), render_text(image, 4, prompt=image))
    assert "media modality differs" in [each.cause for each in found]
    explanation = next(each.explanation for each in found if each.cause == "media modality differs")
    assert explanation == 'vllm has "<|image_pad|>" in place of "<|video_pad|>" in the reference.'


def test_parts_that_are_all_of_a_turn_and_joined_otherwise() -> None:
    reference, joined = format_turn("AA"), format_turn("A\nA")
    found = explain_traces(render_text(reference, prompt=reference), render_text(joined, prompt=joined))
    assert found[0].cause == "text part separator differs"
