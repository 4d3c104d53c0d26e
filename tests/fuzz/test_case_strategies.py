"""What is drawn: every case is one that the harness can hold, load and write."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from vlm_parity.fuzz.case_strategies import DRAWN_NAME, MAX_MEDIA, draw_cases
from vlm_parity.fuzz.search_space import REQUEST_RATES, SearchSpace, search_space_for
from vlm_parity.fuzz.text_strategies import MAX_TEXT_LENGTH, draw_texts
from vlm_parity.media.load import load_media
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case, ImagePart, Message, TextPart, VideoPart
from vlm_parity.schema.case_file import load_case, write_case
from vlm_parity.schema.media_source import ImageRecipe

EVERYTHING = SearchSpace(
    ("image", "video", "audio"), tunable=("min_pixels", "max_pixels", "num_frames", "fps")
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
def test_every_case_can_be_written_and_read(case: Case, tmp_path_factory: object) -> None:
    path = tmp_path_factory.mktemp("drawn") / f"{DRAWN_NAME}.yaml"  # type: ignore[attr-defined]
    write_case(path, case, ["found by a test"])
    read = load_case(path)
    assert read.model_copy(update={"folder": None}) == case
    assert read.digest() == case.digest()


@pytest.mark.parametrize(
    "text", ["\x85", "a\u2028b\r", "# \x00 \ufeff", "'\"\\x85", "漢字 😀", " ", "null", "1.0"]
)
def test_texts_that_files_lose_are_kept(tmp_path: Path, text: str) -> None:
    case = Case(name=DRAWN_NAME, summary="s", messages=(Message(role="user", content=text),))
    write_case(tmp_path / f"{DRAWN_NAME}.yaml", case, [text])
    assert load_case(tmp_path / f"{DRAWN_NAME}.yaml").messages == case.messages


@QUIET
@given(case=draw_cases(SearchSpace(("image",))))
def test_a_family_is_asked_what_it_knows(case: Case) -> None:
    assert set(case.modalities) <= {"image"}
    assert case.processor_kwargs is None


def test_the_simplest_case_is_one_empty_turn() -> None:
    simplest = find(draw_cases(EVERYTHING), lambda _: True)
    (message,) = simplest.messages
    assert message.role == "user"
    assert not "".join(part.text for part in message.parts if isinstance(part, TextPart))
    assert not list(simplest.media)


def test_a_picture_shrinks_to_a_pixel() -> None:
    def holds_a_picture(case: Case) -> bool:
        return any(isinstance(part, ImagePart) for _, part in case.media)

    found = find(draw_cases(EVERYTHING), holds_a_picture, settings=settings(database=None))
    ((_, part),) = found.media
    assert part.source == ImageRecipe(pattern="gradient", size=(1, 1))
    assert [len(message.parts) for message in found.messages] == [1]


def test_long_texts_and_special_tokens_are_drawn() -> None:
    quiet = settings(max_examples=2000, database=None)
    drawn = draw_texts(("<|image_pad|>",))
    assert len(find(drawn, lambda text: len(text) > MAX_TEXT_LENGTH // 4, settings=quiet)) <= MAX_TEXT_LENGTH
    assert find(drawn, lambda text: "<|image_pad|>" in text, settings=quiet) == "<|image_pad|>"


@given(draw_texts(("<|image_pad|>",)))
def test_texts_can_be_encoded(text: str) -> None:
    assert text.encode().decode() == text


def test_the_ground_is_the_familys() -> None:
    ground = search_space_for(checkpoint("qwen2_vl"))
    assert ground.modalities == ("image", "video")
    assert ground.tunable == ("min_pixels", "max_pixels")
    assert ground.special[0].startswith("<|")
    assert len(set(ground.special)) == len(ground.special)
    assert search_space_for(checkpoint("qwen2_5_omni")).rates == REQUEST_RATES
    assert search_space_for(checkpoint("nobody")) == SearchSpace()


@QUIET
@given(st.data())
def test_all_videos_of_a_case_have_one_rate(data: st.DataObject) -> None:
    case = data.draw(draw_cases(EVERYTHING))
    rates = {part.source.fps for _, part in case.media if isinstance(part, VideoPart)}
    assert len(rates) <= 1


def test_only_texts_stand_in_the_turns_of_others() -> None:
    drawn = find(draw_cases(EVERYTHING), lambda case: case.messages[0].role != "user")
    assert all(isinstance(part, TextPart) for part in drawn.messages[0].parts)
