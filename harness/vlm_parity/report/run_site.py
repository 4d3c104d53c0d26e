"""Run folders as a web site: the pages of one run, or of each run in a folder, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote, unquote

from vlm_parity.report.html import REPORT_FILE
from vlm_parity.report.page_templates import render_page
from vlm_parity.report.run_files import find_file
from vlm_parity.report.run_overview import list_run_overviews
from vlm_parity.report.summary import INDEX_FILE
from vlm_parity.util.errors import UsageError

_PLAIN = "text/plain; charset=utf-8"
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".log": _PLAIN,
    ".png": "image/png",
    ".txt": _PLAIN,
}
"""The files that pages consist of or link to; others are not served."""


@dataclass(frozen=True)
class Response:
    """A response to a request."""

    status: HTTPStatus
    body: bytes = b""
    content_type: str = _PLAIN
    location: str = ""
    """The address of a redirection."""


NOT_FOUND = Response(HTTPStatus.NOT_FOUND, b"Not found: no page of a run has this address.\n")


class RunSite:
    """Answers requests for the files of runs."""

    def __init__(self, folder: Path) -> None:
        """Find the runs in a folder.

        Raises:
            UsageError: the folder is no run with a report, and holds none.
        """
        self._folder = folder.resolve()
        self._is_run = is_reported_run(self._folder)
        if not self._is_run and not any(map(is_reported_run, self._folder.iterdir())):
            raise UsageError(
                f"{folder}: neither a run with a report nor a folder of such runs; "
                "`parity report RUN --out DIR` writes one"
            )

    def get(self, target: str) -> Response:
        """Return the response to a request; runs that were added meanwhile are found.

        Args:
            target: untrusted: the path of an address, with escapes.
        """
        path = target.partition("?")[0].removeprefix("/")
        parts = [unquote(part) for part in path.split("/")]
        if self._is_run:
            return _get_file(self._folder, parts)
        if parts == [""]:
            page = render_page(
                "runs.html.j2", folder=self._folder.name, runs=list_run_overviews(self._folder)
            )
            return Response(HTTPStatus.OK, page.encode(), CONTENT_TYPES[".html"])
        run = self._folder / parts[0]
        if find_file(self._folder, parts[0], INDEX_FILE) is None or not is_reported_run(run):
            return NOT_FOUND
        if len(parts) == 1:
            return Response(HTTPStatus.MOVED_PERMANENTLY, location=f"/{quote(parts[0], safe='')}/")
        return _get_file(run, parts[1:])


def is_reported_run(folder: Path) -> bool:
    """Return whether a folder is a run with a report; a symbolic link is none."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    return all(find_file(folder, name) is not None for name in (INDEX_FILE, REPORT_FILE))


def _get_file(run: Path, parts: list[str]) -> Response:
    names = [*parts[:-1], parts[-1] or INDEX_FILE]
    content_type = CONTENT_TYPES.get(Path(names[-1]).suffix)
    if content_type is None or any(name.startswith(".") for name in names):
        return NOT_FOUND
    file = find_file(run, *names)
    return NOT_FOUND if file is None else Response(HTTPStatus.OK, file.read_bytes(), content_type)
