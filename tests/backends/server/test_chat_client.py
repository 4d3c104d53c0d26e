"""The real client with a small server whose responses the tests choose."""

from __future__ import annotations

import base64
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from tests.support.requests import IMAGE_PART, TEXT_PART, VIDEO_PART, make_request
from vlm_parity.backends.base import Request
from vlm_parity.backends.server.chat_client import ChatClient, build_chat, extract_error
from vlm_parity.backends.server.process import ServerProcess, find_free_port
from vlm_parity.schema.case import Case
from vlm_parity.util.errors import (
    EngineCrashedError,
    EngineError,
    RequestRefusedError,
    ServerEndedError,
    UnsupportedError,
)

SERVER = Path(__file__).parents[2] / "support" / "tiny_server.py"
UNSUPPORTED = re.compile("not served here")


@pytest.fixture
def port() -> int:
    return find_free_port()


@pytest.fixture
def server(port: int) -> Iterator[ServerProcess]:
    process = ServerProcess([sys.executable, str(SERVER), str(port)], port, {})
    process.wait_until_ready()
    yield process
    process.stop()


@pytest.fixture
def client(server: ServerProcess) -> ChatClient:
    pytest.importorskip("openai")
    return ChatClient(server, UNSUPPORTED)


def make_chat(order: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": order}], "extra_body": {"ignore_eos": True}}


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


def test_the_error_of_a_server_that_ends_while_it_loads_has_its_output(port: int) -> None:
    process = ServerProcess(
        [sys.executable, "-c", "print('one'); print('not served here'); exit(4)"], port, {}
    )
    with pytest.raises(
        ServerEndedError, match=r"ended with exit code 4; its last lines:\none\nnot served here"
    ):
        process.wait_until_ready()
    assert process.find_line(UNSUPPORTED) == "not served here"
    assert process.find_line(re.compile("elsewhere")) is None


def test_a_server_has_the_variables(port: int) -> None:
    code = "import os; print(os.environ['GIVEN'])"
    with pytest.raises(ServerEndedError, match="value"):
        ServerProcess([sys.executable, "-c", code], port, {"GIVEN": "value"}).wait_until_ready()


def test_a_server_that_ignores_its_termination_is_killed(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlm_parity.backends.server.process._STOP_GRACE_S", 0.2)
    os.kill(server.pid, signal.SIGSTOP)
    server.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_server_ends_with_the_process_that_started_it(port: int) -> None:
    code = (
        "import sys, time; from vlm_parity.backends.server.process import ServerProcess\n"
        f"server = ServerProcess([sys.executable, {str(SERVER)!r}, '{port}'], {port}, {{}})\n"
        "server.wait_until_ready(); print(server.pid, file=sys.stderr, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert parent.stderr is not None
    pid = int(parent.stderr.readline())
    parent.kill()
    parent.wait()
    parent.stderr.close()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline, "the server outlives its parent"
        time.sleep(0.05)
