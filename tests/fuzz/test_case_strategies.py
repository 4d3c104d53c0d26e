"""Drawn cases: the harness can represent, load and write every one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from vlm_parity.fuzz.case_strategies import DRAWN_NAME, MAX_MEDIA, draw_cases
from vlm_parity.fuzz.search_space import REQUEST_RATES, SearchSpace, build_search_space
from vlm_parity.fuzz.text_strategies import MAX_TEXT_LENGTH, draw_texts
from vlm_parity.media.load import load_media
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case, ImagePart, Message, TextPart, VideoPart
from vlm_parity.schema.case_file import load_case, write_case
from vlm_parity.schema.media_source import ImageRecipe, VideoRecipe

EVERYTHING = SearchSpace(
    ("image", "video", "audio"), supported_kwargs=("min_pixels", "max_pixels", "num_frames", "fps")
)
QUIET = settings(max_examples=60, suppress_health_check=list(HealthCheck))


def checkpoint(family: str) -> Checkpoint:
    return Checkpoint("any", family, Path(), "any", "")


@QUIET
@given(case=draw_cases(EVERYTHING))
def test_every_case_loads_its_media(case: Case) -> None:
    assert len(load_media(case)) == sum(1 for _ in case.media) <= MAX_MEDIA
    assert case.depth == "tokens"


@QUIET
@given(case=draw_cases(EVERYTHING))
def test_every_case_can_be_written_and_read(case: Case, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("drawn") / f"{DRAWN_NAME}.yaml"
    write_case(path, case, ["found by a test"])
    read = load_case(path)
    assert read.model_copy(update={"folder": None}) == case
    assert read.digest() == case.digest()


@pytest.mark.parametrize(
    "text", ["\x85", "a\u2028b\r", "# \x00 \ufeff", "'\"\\x85", "漢字 😀", " ", "null", "1.0"]
)
def test_texts_survive_the_file_format(tmp_path: Path, text: str) -> None:
    case = Case(name=DRAWN_NAME, summary="s", messages=(Message(role="user", content=text),))
    write_case(tmp_path / f"{DRAWN_NAME}.yaml", case, [text])
    assert load_case(tmp_path / f"{DRAWN_NAME}.yaml").messages == case.messages


@QUIET
@given(case=draw_cases(SearchSpace(("image",))))
def test_only_supported_modalities_are_drawn(case: Case) -> None:
    assert set(case.modalities) <= {"image"}
    assert case.processor_kwargs is None


def test_the_simplest_case_is_one_empty_turn() -> None:
    simplest = find(draw_cases(EVERYTHING), lambda _: True)
    (message,) = simplest.messages
    assert message.role == "user"
    assert not "".join(part.text for part in message.parts if isinstance(part, TextPart))
    assert not list(simplest.media)


def test_an_image_shrinks_to_a_pixel() -> None:
    def has_image(case: Case) -> bool:
        return any(isinstance(part, ImagePart) for _, part in case.media)

    case = find(draw_cases(EVERYTHING), has_image, settings=settings(database=None))
    ((_, part),) = case.media
    assert part.source == ImageRecipe(pattern="gradient", size=(1, 1))
    assert [len(message.parts) for message in case.messages] == [1]


def test_long_texts_and_special_tokens_are_drawn() -> None:
    quiet = settings(max_examples=2000, database=None)
    drawn = draw_texts(("<|image_pad|>",))
    assert len(find(drawn, lambda text: len(text) > MAX_TEXT_LENGTH // 4, settings=quiet)) <= MAX_TEXT_LENGTH
    assert find(drawn, lambda text: "<|image_pad|>" in text, settings=quiet) == "<|image_pad|>"


@given(draw_texts(("<|image_pad|>",)))
def test_texts_can_be_encoded(text: str) -> None:
    assert text.encode().decode() == text


def test_the_search_space_depends_on_the_family() -> None:
    space = build_search_space(checkpoint("qwen2_vl"))
    assert space.modalities == ("image", "video")
    assert space.supported_kwargs == ("min_pixels", "max_pixels")
    assert space.special[0].startswith("<|")
    assert len(set(space.special)) == len(space.special)
    assert build_search_space(checkpoint("qwen2_5_omni")).rates == REQUEST_RATES
    assert build_search_space(checkpoint("nobody")) == SearchSpace()


@QUIET
@given(st.data())
def test_all_videos_of_a_case_have_the_same_rate(data: st.DataObject) -> None:
    case = data.draw(draw_cases(EVERYTHING))
    videos = [part.source for _, part in case.media if isinstance(part, VideoPart)]
    rates = {video.fps for video in videos if isinstance(video, VideoRecipe)}
    assert len(rates) <= 1


@pytest.mark.parametrize(
    "is_wanted",
    [
        lambda case: case.tools,
        lambda case: case.chat_template_kwargs,
        lambda case: not case.add_generation_prompt,
        lambda case: any(message.tool_calls for message in case.messages),
        lambda case: any(message.reasoning_content for message in case.messages),
        lambda case: any(message.content is None for message in case.messages),
        lambda case: any(message.role == "tool" for message in case.messages),
        lambda case: (
            any(not isinstance(part, TextPart) for part in case.messages[0].parts)
            and case.messages[0].role != "user"
        ),
    ],
    ids=["tools", "variables", "no_generation_prompt", "calls", "reasoning", "null", "tool_turn", "media"],
)
def test_conversations_of_agents_are_drawn(is_wanted: Callable[[Case], object]) -> None:
    quiet = settings(max_examples=2000, database=None, suppress_health_check=list(HealthCheck))
    case = find(draw_cases(EVERYTHING), lambda case: bool(is_wanted(case)), settings=quiet)
    assert len(case.messages) <= 2
