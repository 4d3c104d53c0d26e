"""The real client with a small server whose responses the tests choose."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import PIL.Image
import pytest

from tests.support.processes import build_tiny_server
from tests.support.requests import IMAGE_PART, TEXT_PART, VIDEO_PART, make_request
from vlm_parity.backends.base import Request
from vlm_parity.backends.server.chat_client import ChatClient, build_chat, extract_error
from vlm_parity.backends.server.process import ServerProcess
from vlm_parity.schema.case import Case
from vlm_parity.util.errors import (
    EngineCrashedError,
    EngineError,
    RequestRefusedError,
    UnsupportedError,
)

UNSUPPORTED = re.compile("not served here")


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    process = ServerProcess(build_tiny_server, {})
    process.wait_until_ready()
    yield process
    process.stop()


@pytest.fixture
def client(server: ServerProcess) -> ChatClient:
    pytest.importorskip("openai")
    return ChatClient(server, UNSUPPORTED)


def make_chat(order: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": order}], "extra_body": {"ignore_eos": True}}


def test_arguments_of_tool_calls_are_sent_as_text() -> None:
    calls = [
        {"function": {"name": "look", "arguments": {"at": "ä"}}},
        {"function": {"name": "look", "arguments": '{"at":  1}'}},
    ]
    messages = [{"role": "assistant", "tool_calls": calls}]
    case = Case.model_validate({"name": "a", "summary": "s", "messages": messages})
    (message,) = build_chat(Request(case, ()))["messages"]
    assert [call["function"]["arguments"] for call in message["tool_calls"]] == ['{"at": "ä"}', '{"at":  1}']
    assert "content" not in message


def test_template_arguments_are_fields_of_the_body() -> None:
    request = make_request(TEXT_PART)
    assert (
        build_chat(request, {"add_generation_prompt": False})["extra_body"]["add_generation_prompt"] is False
    )


def test_data_urls_keep_every_bit_of_media() -> None:
    request = make_request(IMAGE_PART, VIDEO_PART, TEXT_PART)
    image, video, text = build_chat(request)["messages"][0]["content"]
    head, _, data = image["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    sent = PIL.Image.open(io.BytesIO(base64.b64decode(data)))
    np.testing.assert_array_equal(np.asarray(sent), np.asarray(request.media[0]))
    assert video["video_url"]["url"].count(",") == VIDEO_PART["video"]["frames"]
    assert text == {"type": "text", "text": TEXT_PART["text"]}
    assert build_chat(request)["extra_body"]["media_io_kwargs"] == {"video": {"fps": 2.0, "num_frames": -1}}


def test_an_image_keeps_its_orientation_tag() -> None:
    image = PIL.Image.new("RGB", (4, 2))
    image.getexif()[0x0112] = 6
    case = make_request(IMAGE_PART).case
    url = build_chat(Request(case, (image,)))["messages"][0]["content"][0]["image_url"]["url"]
    sent = PIL.Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    assert sent.getexif()[0x0112] == 6


def test_a_string_stays_a_string_and_the_case_sets_the_number_of_tokens() -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [TEXT_PART]}]
    case = Case.model_validate({"name": "c", "summary": "s", "messages": messages, "max_new_tokens": 3})
    chat = build_chat(Request(case, ()))
    assert chat["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (chat["max_tokens"], chat["temperature"]) == (3, 0)
    assert "media_io_kwargs" not in chat["extra_body"]


def test_the_completion_has_the_engines_own_fields(client: ChatClient) -> None:
    assert client.complete(make_chat("answer"))["prompt_token_ids"] == [1, 2]


def test_no_proxy_answers_for_the_server(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openai")
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert ChatClient(server, UNSUPPORTED).complete(make_chat("answer"))["prompt_token_ids"] == [1, 2]


def test_nothing_is_sent_once_the_server_has_ended(client: ChatClient, server: ServerProcess) -> None:
    server.stop()
    with pytest.raises(EngineCrashedError, match="the server ended with exit code -15"):
        client.complete(make_chat("answer"))


@pytest.mark.parametrize(
    ("order", "error", "message"),
    [
        ("400", RequestRefusedError, "HTTP 400: error message of the server"),
        ("400 flat", RequestRefusedError, "HTTP 400: error message of the server"),
        ("400 not served here", UnsupportedError, "HTTP 400: not served here"),
        ("500", EngineError, "HTTP 500: error message of the server"),
        ("sick", EngineCrashedError, "the server is unhealthy; its last lines:\nready"),
        ("die", EngineCrashedError, "ended with exit code 3; its last lines:\nready\nfarewell"),
        ("kill", EngineCrashedError, "ended with exit code -9; its last lines:\nready"),
    ],
)
def test_the_error_depends_on_the_response(
    client: ChatClient, order: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as raised:
        client.complete(make_chat(order))
    assert message in str(raised.value)


def test_a_refused_request_is_not_a_failure_of_the_engine() -> None:
    assert not issubclass(RequestRefusedError, EngineError)


@pytest.mark.parametrize(
    ("body", "message"),
    [({"message": "a"}, "HTTP 400: a"), ("b", "HTTP 400: b"), (None, "HTTP 400: no message")],
)
def test_the_message_of_an_error_response_is_extracted(body: object, message: str) -> None:
    assert extract_error(400, body) == message
