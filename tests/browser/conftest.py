"""Pages in Chromium, as files and from the local server: no error, and no request beyond the report."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.support.browser import MANY, find_chromium, write_browser_run
from vlm_parity.report.run_server import RunServer
from vlm_parity.report.run_site import RunSite

TIMEOUT = 10_000.0
"""Milliseconds."""
OpenPage = Callable[..., Page]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder with several pages of verdicts; ``small`` is beside it."""
    folder = tmp_path_factory.mktemp("runs")
    write_browser_run(folder / "small", count=0)
    return write_browser_run(folder / "run-1", count=MANY)


@pytest.fixture(scope="session")
def site(run: Path) -> Iterator[str]:
    """Return the address at which `parity serve` shows the folder of the run."""
    with RunServer(RunSite(run.parent), "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.url
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium())
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, run: Path, site: str) -> Iterator[OpenPage]:
    """Return a function that opens a page of the run; its errors and foreign requests fail the test."""
    contexts, errors, requested = [], [], []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    def open_page(
        path: str = "index.html",
        *,
        name: str = "run-1",
        served: bool = False,
        width: int = 1400,
        **options: Any,
    ) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        context.set_default_timeout(TIMEOUT)
        contexts.append(context)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: requested.append(request.url))
        page.goto(f"{site if served else run.parent.as_uri() + '/'}{name}/{path}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []
    assert requested
    assert [url for url in requested if not _is_own(url, site)] == []


def _is_own(url: str, site: str) -> bool:
    return urlsplit(url).scheme in {"file", "data"} or url.startswith(site)


@pytest.fixture(params=[False, True], ids=["file", "served"])
def index(request: pytest.FixtureRequest, open_page: OpenPage) -> Page:
    """Return the index, opened as a file and from the server."""
    return open_page(served=request.param)
