"""Asking a server with the real client: a tiny server of our own answers what it is told to."""

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

from tests.support.requests import CLIP, PICTURE, QUESTION, make_request
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
UNSERVED = re.compile("not served here")


@pytest.fixture
def port() -> int:
    return find_free_port()


@pytest.fixture
def server(port: int) -> Iterator[ServerProcess]:
    started = ServerProcess([sys.executable, str(SERVER), str(port)], port, {})
    started.wait_until_ready()
    yield started
    started.stop()


@pytest.fixture
def client(server: ServerProcess) -> ChatClient:
    pytest.importorskip("openai")
    return ChatClient(server, UNSERVED)


def asking(order: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": order}], "extra_body": {"ignore_eos": True}}


def test_media_go_in_as_data_urls_that_keep_every_bit() -> None:
    request = make_request(PICTURE, CLIP, QUESTION)
    picture, clip, question = build_chat(request)["messages"][0]["content"]
    kind, _, data = picture["image_url"]["url"].partition(",")
    assert kind == "data:image/png;base64"
    sent = PIL.Image.open(io.BytesIO(base64.b64decode(data)))
    np.testing.assert_array_equal(np.asarray(sent), np.asarray(request.media[0]))
    assert clip["video_url"]["url"].count(",") == CLIP["video"]["frames"]
    assert question == {"type": "text", "text": QUESTION["text"]}
    assert build_chat(request)["extra_body"]["media_io_kwargs"] == {"video": {"fps": 2.0, "num_frames": -1}}


def test_a_picture_keeps_how_it_is_to_be_turned() -> None:
    picture = PIL.Image.new("RGB", (4, 2))
    picture.getexif()[0x0112] = 6
    case = make_request(PICTURE).case
    url = build_chat(Request(case, (picture,)))["messages"][0]["content"][0]["image_url"]["url"]
    sent = PIL.Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    assert sent.getexif()[0x0112] == 6


def test_a_text_stays_a_text_and_the_answer_is_as_long_as_the_case_wants() -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [QUESTION]}]
    case = Case.model_validate({"name": "c", "summary": "s", "messages": messages, "max_new_tokens": 3})
    chat = build_chat(Request(case, ()))
    assert chat["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (chat["max_tokens"], chat["temperature"]) == (3, 0)
    assert "media_io_kwargs" not in chat["extra_body"]


def test_the_answer_holds_the_engines_own_fields(client: ChatClient) -> None:
    assert client.complete(asking("answer"))["prompt_token_ids"] == [1, 2]


@pytest.mark.parametrize(
    ("order", "kind", "words"),
    [
        ("400", RequestRefusedError, "HTTP 400: error message of the server"),
        ("400 flat", RequestRefusedError, "HTTP 400: error message of the server"),
        ("400 not served here", UnsupportedError, "HTTP 400: not served here"),
        ("500", EngineError, "HTTP 500: error message of the server"),
        ("sick", EngineCrashedError, "can serve no more; its last lines:\nready"),
        ("die", EngineCrashedError, "ended with exit code 3; its last lines:\nready\nfarewell"),
        ("kill", EngineCrashedError, "ended with exit code -9; its last lines:\nready"),
    ],
)
def test_an_error_is_what_the_server_makes_it(
    client: ChatClient, order: str, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind) as raised:
        client.complete(asking(order))
    assert words in str(raised.value)


def test_a_refusal_is_not_the_engines_failure() -> None:
    assert not issubclass(RequestRefusedError, EngineError)


@pytest.mark.parametrize(
    ("body", "words"),
    [({"message": "a"}, "HTTP 400: a"), ("b", "HTTP 400: b"), (None, "HTTP 400: no words")],
)
def test_an_errors_words_are_found(body: object, words: str) -> None:
    assert extract_error(400, body) == words


def test_a_server_that_ends_while_it_loads_says_its_last_words(port: int) -> None:
    started = ServerProcess(
        [sys.executable, "-c", "print('one'); print('not served here'); exit(4)"], port, {}
    )
    with pytest.raises(
        ServerEndedError, match=r"ended with exit code 4; its last lines:\none\nnot served here"
    ):
        started.wait_until_ready()
    assert started.find_line(UNSERVED) == "not served here"
    assert started.find_line(re.compile("elsewhere")) is None


def test_a_server_is_given_variables(port: int) -> None:
    code = "import os; print(os.environ['GIVEN'])"
    with pytest.raises(ServerEndedError, match="value"):
        ServerProcess([sys.executable, "-c", code], port, {"GIVEN": "value"}).wait_until_ready()


def test_a_server_that_does_not_end_by_itself_is_killed(
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
