"""Cases: every mistake in a file is reported with file, line and field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vlm_parity.schema.case import TEMPLATE_ARGUMENTS, Case, build_case_schema
from vlm_parity.schema.case_file import load_case, load_cases
from vlm_parity.schema.record import compute_digest
from vlm_parity.util.errors import CaseError

CASES = Path(__file__).parents[2] / "cases"

USER = "summary: s\nmessages:\n- role: user\n  content:\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "some_case.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_case_is_named_after_its_file(tmp_path: Path) -> None:
    case = load_case(written(tmp_path, "summary: s\nmessages: [{role: user, content: Hello}]\n"))
    assert case.name == "some_case"
    assert case.messages[0].parts[0].text == "Hello"  # type: ignore[union-attr]


def test_media_come_in_the_order_of_the_conversation() -> None:
    case = load_case(CASES / "conversations" / "video_and_image.yaml")
    assert [modality for modality, _ in case.media] == ["video", "image"]
    assert case.modalities == ("video", "image")


@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        ("summary: s\nmessages: []\n", 2, "messages"),
        ("summary: s\nmessages:\n- role: robot\n  content: Hi\n", 3, "messages[0].role"),
        ("summary: s\nmessages:\n- role: user\n  content: Hi\nbudget: 3\n", 5, "budget"),
        (USER + "  - tone: a\n", 5, "messages[0].content[0]"),
        pytest.param(
            USER + "  - image:\n      pattern: gradient\n      size: [0, 4]\n",
            7,
            "messages[0].content[0].image.size[0]",
        ),
        pytest.param(
            USER + "  - image: {url: 'http://host/a.png'}\n",
            5,
            "messages[0].content[0].image.url",
        ),
        pytest.param(
            USER + "  - image: {pattern: gradient, size: [8, 6], encoded: {format: bmp, mode: LA}}\n",
            5,
            "messages[0].content[0].image.encoded",
        ),
        pytest.param(
            USER + "  - video: {pattern: gradient, size: [8, 5], frames: 2, encoded: {}}\n",
            5,
            "messages[0].content[0].video",
        ),
        pytest.param(
            USER + "  - video: {pattern: gradient, size: [8, 6], frames: 2, encoded: {timestamps: [0]}}\n",
            5,
            "messages[0].content[0].video",
        ),
        pytest.param(USER + "  - audio: {file: a.wav, encoded: true}\n", 5, "messages[0].content[0]"),
        ("messages: [{role: user, content: Hi}]\n", 1, "summary"),
    ],
)
def test_mistake_is_located(tmp_path: Path, text: str, line: int, field: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(CaseError) as caught:
        load_case(path)
    assert f"{path}:{line}: {field}: " in str(caught.value)


@pytest.mark.parametrize("text", ["[1, 2]\n", "a: [\n", ""])
def test_what_is_no_mapping_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(CaseError, match=path.name):
        load_case(path)


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool"])
def test_every_role_may_hold_media(tmp_path: Path, role: str) -> None:
    text = f"summary: s\nmessages:\n- role: {role}\n  content:\n  - image: {{pattern: plain, size: [8, 8]}}\n"
    assert load_case(written(tmp_path, text)).modalities == ("image",)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ("continue_final_message: true\n", "continue_final_message needs add_generation_prompt: false"),
        (
            "continue_final_message: true\nadd_generation_prompt: false\n",
            "the last turn must be the assistant's",
        ),
        ("tools: []\n", "tools: must not be empty"),
        ("chat_template_kwargs: [1]\n", "chat_template_kwargs: must be a mapping"),
    ],
)
def test_template_arguments_that_contradict_are_refused(tmp_path: Path, keys: str, reason: str) -> None:
    with pytest.raises(CaseError, match=reason):
        load_case(written(tmp_path, f"summary: s\nmessages: [{{role: user, content: Hi}}]\n{keys}"))


@pytest.mark.parametrize(
    "content", [{}, {"content": None}, {"content": ""}, {"content": []}, {"content": "a"}]
)
def test_a_message_stays_as_it_was_written(content: dict[str, Any]) -> None:
    """Absent, null and empty content are three things to a chat template."""
    call = {"function": {"name": "look", "arguments": '{"a": 1}'}}
    message = {"role": "assistant", "tool_calls": [call], "reasoning": None, **content}
    case = Case.model_validate({"name": "a", "summary": "s", "messages": [message]})
    assert case.model_dump(mode="json")["messages"] == [message]
    assert Case.model_validate_json(case.model_dump_json()) == case
    assert case.messages[0].envelope == {key: message[key] for key in message if key != "content"}


def test_unused_fields_do_not_change_the_digest() -> None:
    """Stored verdicts and caches of plain conversations keep their identity."""
    case = load_case(CASES / "conversations" / "several_turns.yaml")
    data = case.model_dump(mode="json", exclude={"processor_kwargs", *TEMPLATE_ARGUMENTS})
    assert case.digest() == compute_digest([data, []])
    assert case.model_copy(update={"add_generation_prompt": False}).digest() != case.digest()


def test_a_processor_kwarg_that_is_null_is_passed_as_none() -> None:
    message = {"role": "user", "content": "Hi"}
    data = {"name": "a", "summary": "s", "messages": [message]}
    plain, null = (
        Case.model_validate({**data, "processor_kwargs": kwargs})
        for kwargs in ({"num_frames": 6}, {"num_frames": 6, "fps": None})
    )
    every = {**dict.fromkeys(("min_pixels", "max_pixels", "fps")), "num_frames": 6}
    all_null = Case.model_validate({**data, "processor_kwargs": every})
    read = Case.model_validate_json(null.model_dump_json())
    assert read.processor_kwargs is not None
    assert read.processor_kwargs.as_kwargs == {"num_frames": 6, "fps": None}
    assert len({plain.digest(), null.digest(), all_null.digest()}) == 3


def test_only_used_template_arguments_are_passed() -> None:
    message = {"role": "user", "content": "Hi"}
    data = {"name": "a", "summary": "s", "messages": [message], "add_generation_prompt": False, "tools": [{}]}
    assert Case.model_validate(data).template_arguments == {"add_generation_prompt": False, "tools": [{}]}


def test_videos_of_a_case_are_handed_over_alike(tmp_path: Path) -> None:
    clip = "  - video: {pattern: gradient, size: [8, 6], frames: 2"
    text = f"{USER}{clip}}}\n{clip}, encoded: {{}}}}\n"
    with pytest.raises(CaseError, match="encode all of them, or none"):
        load_case(written(tmp_path, text))


def test_the_audio_track_of_a_video_is_a_modality() -> None:
    case = load_case(CASES / "conversations" / "video_with_audio.yaml")
    assert [modality for modality, _ in case.media] == ["video"]
    assert case.modalities == ("video", "audio")


def test_all_videos_have_an_audio_track_or_none(tmp_path: Path) -> None:
    video = "pattern: gradient, size: [8, 6], frames: 2"
    text = (
        USER
        + f"  - video: {{{video}}}\n  - video: {{{video}, audio_track: {{waveform: tone, seconds: 1}}}}\n"
    )
    with pytest.raises(CaseError, match="all have an audio track, or none"):
        load_case(written(tmp_path, text))


def test_folder_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="no cases"):
        load_cases(tmp_path)


def test_cases_of_several_folders_have_names_of_their_own(tmp_path: Path) -> None:
    text = "summary: s\nmessages:\n- {role: user, content: Hi}\n"
    for folder, name in (("one", "a"), ("two", "b")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.yaml").write_text(text)
    folders = tmp_path / "one", tmp_path / "two", tmp_path / "missing"
    assert list(load_cases(*folders)) == ["a", "b"]
    (tmp_path / "two" / "a.yaml").write_text(text)
    with pytest.raises(CaseError, match=r"one already has a case a"):
        load_cases(*folders)


def test_what_a_processor_is_reported_is_asked_too(tmp_path: Path) -> None:
    text = "summary: s\nmessages:\n- {role: user, content: Hi}\n"
    plain = load_case(written(tmp_path, text))
    passed = load_case(written(tmp_path, f"{text}processor_kwargs: {{min_pixels: 784, fps: 2}}\n"))
    assert passed.processor_kwargs is not None
    assert passed.processor_kwargs.as_kwargs == {"min_pixels": 784, "fps": 2.0}
    assert passed.digest() != plain.digest()


def test_digest_changes_with_the_content_of_a_file(tmp_path: Path) -> None:
    text = "summary: s\nmessages:\n- role: user\n  content:\n  - image: {file: a.bin}\n"
    case = load_case(written(tmp_path, text))
    (tmp_path / "a.bin").write_bytes(b"one")
    before = case.digest()
    (tmp_path / "a.bin").write_bytes(b"two")
    assert case.digest() != before


def test_digest_does_not_depend_on_the_folder() -> None:
    case = load_case(CASES / "conversations" / "one_image.yaml")
    assert case.model_copy(update={"folder": Path("elsewhere")}).digest() == case.digest()


@pytest.mark.parametrize("case", load_cases(CASES / "conversations").values(), ids=lambda case: case.name)
def test_every_case_says_what_it_catches(case: Case) -> None:
    assert case.summary.startswith("Catches ")
    assert case.summary.endswith(".")


def test_schema_file_is_in_sync() -> None:
    assert json.loads((CASES / "conversation.schema.json").read_text("utf-8")) == build_case_schema()


def test_schema_leaves_out_what_the_file_itself_says() -> None:
    schema = build_case_schema()
    own = {"summary", "messages", "max_new_tokens", "depth", "processor_kwargs"}
    assert set(schema["properties"]) == own | set(TEMPLATE_ARGUMENTS)
    assert schema["required"] == ["summary", "messages"]


LARGEST = {"video": {"max_size": True}}


def largest(*content: dict[str, Any], **changes: Any) -> Case:
    messages = [{"role": "user", "content": content}]
    given = {"name": "one", "summary": "s", "depth": "tokens", "messages": messages, **changes}
    return Case.model_validate(given)


def test_a_case_knows_that_its_medium_is_an_engines_largest() -> None:
    assert largest(LARGEST, {"text": "?"}).max_size_modality == "video"
    assert largest({"text": "?"}).max_size_modality is None


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(([LARGEST, LARGEST], {}), id="two"),
        pytest.param(([LARGEST], {"depth": "logits"}), id="with logits"),
    ],
)
def test_a_largest_medium_is_alone_and_not_answered(asked: tuple[list[Any], dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="the only one of its case, whose depth is tokens"):
        largest(*asked[0], **asked[1])
