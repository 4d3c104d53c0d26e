"""The local server: pages of runs and nothing else of the disk, to this machine only."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlm_parity.report.html import write_report
from vlm_parity.report.load_run import load_run
from vlm_parity.report.run_overview import RunOverview, list_run_overviews
from vlm_parity.report.run_server import RunServer
from vlm_parity.report.run_site import RunSite
from vlm_parity.schema.verdict import VerdictKind
from vlm_parity.util.errors import UsageError

if TYPE_CHECKING:
    from tests.report.conftest import RunBuilder

SECRET = b"secret"


@pytest.fixture
def runs(builder: RunBuilder) -> Path:
    """Return a folder with a run, files beside it, and links out of it."""
    write_report(load_run(builder.sample()))
    folder = builder.folder.parent
    for path in ("secret.txt", "other/secret.txt", "run-1/.secret.txt", "run-1/shards/secret.npz"):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(SECRET)
    (folder / "run-1" / "link.txt").symlink_to(folder / "secret.txt")
    (folder / "run-1" / "folder").symlink_to(folder / "other")
    (folder / "latest").symlink_to("run-1")
    return folder


def test_pages_of_a_run(runs: Path) -> None:
    for site, prefix in ((RunSite(runs), "/run-1"), (RunSite(runs / "run-1"), "")):
        for path, kind in (
            ("/", "text/html"),
            ("/data/verdicts.js", "text/javascript"),
            ("/report.json", "application/json"),
        ):
            response = site.get(prefix + path)
            assert response.status == HTTPStatus.OK
            assert response.content_type.startswith(kind)
        assert site.get(f"{prefix}/").body == (runs / "run-1" / "index.html").read_bytes()
    assert RunSite(runs).get("/run-1").location == "/run-1/"


@pytest.mark.parametrize(
    "target",
    [
        "/secret.txt",
        "/other/secret.txt",
        "/run-1/../secret.txt",
        "/run-1/%2e%2e/secret.txt",
        "/run-1/..%2fsecret.txt",
        "/run-1//secret.txt",
        "/run-1/.secret.txt",
        "/run-1/link.txt",
        "/run-1/folder/secret.txt",
        "/run-1/shards/secret.npz",
        "/run-1/shards/",
        "/latest/",
        "/run-1%00/",
        "/nope",
        "//run-1/",
        "http://example.org/secret.txt",
    ],
)
def test_nothing_else_is_served(runs: Path, target: str) -> None:
    response = RunSite(runs).get(target)
    assert response.status == HTTPStatus.NOT_FOUND
    assert SECRET not in response.body


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(
        st.sampled_from(["..", ".", "", "run-1", "secret.txt", "other", "folder", "%2e%2e"]) | st.text()
    )
)
def test_no_address_leads_out(runs: Path, parts: list[str]) -> None:
    target = "/" + "/".join(quote(part, safe="%", errors="replace") for part in parts)
    assert SECRET not in RunSite(runs).get(target).body


def test_the_overview_lists_runs_with_their_results(runs: Path) -> None:
    (overview,) = list_run_overviews(runs)
    assert overview.name == "run-1"
    assert overview.started == "2026-03-01T09:00:00Z"
    assert not overview.passes
    assert overview.counts[0] == (VerdictKind.CRASH, 1)
    assert b'href="run-1/index.html"' in RunSite(runs).get("/").body


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"run": {"started": 1}}), "\ud800"])
def test_an_unreadable_report_is_listed_as_such(runs: Path, content: str) -> None:
    (runs / "run-1" / "report.json").write_bytes(content.encode(errors="surrogatepass"))
    assert list_run_overviews(runs) == [RunOverview("run-1", problem="report.json is unreadable")]


def test_a_folder_without_a_report_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a run with a report nor a folder of such runs"):
        RunSite(tmp_path)


@pytest.fixture
def server(runs: Path) -> Iterator[RunServer]:
    with RunServer(RunSite(runs), "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def request(server: RunServer, method: str, host: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.request(method, "/run-1/", headers={"Host": host})
    return connection.getresponse()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:80", "[::1]:80"])
def test_requests_of_this_machine_are_answered(server: RunServer, host: str) -> None:
    response = request(server, "GET", host)
    assert response.status == HTTPStatus.OK
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert b"comparisons differ" in response.read()


@pytest.mark.parametrize("host", ["evil.example", "", "127.0.0.1.evil.example", "[", "a@b:c"])
def test_a_foreign_name_is_refused(server: RunServer, host: str) -> None:
    response = request(server, "GET", host)
    assert response.status == HTTPStatus.MISDIRECTED_REQUEST
    assert b"comparisons differ" not in response.read()


def test_a_head_request_has_no_body(server: RunServer) -> None:
    response = request(server, "HEAD", "localhost")
    assert int(response.headers["Content-Length"]) > 1000
    assert response.read() == b""


def test_other_methods_are_refused(server: RunServer) -> None:
    assert request(server, "POST", "localhost").status == HTTPStatus.NOT_IMPLEMENTED


def test_a_taken_port_is_a_usage_error(runs: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"--port {port}: Address already in use"):
            RunServer(RunSite(runs), "127.0.0.1", port)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_with_a_signal(runs: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "vlm_parity", "serve", str(runs), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as child:
        assert child.stdout is not None
        assert "http://127.0.0.1:" in child.stdout.readline()
        child.send_signal(number)
        _, errors = child.communicate(timeout=60)
    assert child.returncode == 0
    assert errors == ""
