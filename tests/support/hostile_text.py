"""Hostile text, and the checks that an output has made it harmless."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any, TypeVar

from markdown_it import MarkdownIt
from markdown_it.token import Token
from pydantic import ValidationError

from vlm_parity.schema.record import Record

HOSTILE = (
    "::error file=a,line=1::pwned \x1b[2J\x1b]0;title\x07\x9b31m\u202e\u2066\r"
    '<script>alert(1)</script>"><img src=x onerror="alert(2)"> {{ 7*7 }} {: onclick=alert(3) }\n'
    "::set-output name=x::y\n  ::add-mask::z\n##[error]w ##vso[task.complete]v ##teamcity[u]\n"
    "@octocat @org/team fixes #1 closes GH-2 resolves a/b#3 https://github.com/a/b/issues/4 www.evil.com\n"
    "![x](https://evil.example/x.png) [y](javascript:alert(4)) <!-- | `````` ```\n```\n~~~\n# z\n- z\n"
    "| z | z |\n"
)
OUR_MARKUP = {"<details><summary>Versions</summary>", "</details>"}
_SAFE_LINKS = re.compile(r"(\.\./)*[\w.%/+~-]*(#[\w.%/~=&+*-]*)?|data:image/png;base64,[\w+/=]*|data:,")
_COLORS = re.compile(r"\x1b\[[\d;]*m")

AnyRecord = TypeVar("AnyRecord", bound=Record)


def poison(record: AnyRecord, *kept: str) -> AnyRecord:
    """Replace every text of a record by hostile text, keys too, where the schema allows it.

    Args:
        record: any record.
        kept: names of fields to leave alone.
    """
    data = record.model_dump(mode="json")
    for holder, key in list(_list_texts(data, kept)):
        for change in (_replace_value, _replace_key):
            before = dict(holder) if isinstance(holder, dict) else list(holder)
            if not change(holder, key):
                continue
            try:
                type(record).model_validate(data)
            except ValidationError:
                holder.clear()
                holder.update(before) if isinstance(holder, dict) else holder.extend(before)
    return type(record).model_validate(data)


def _list_texts(data: Any, kept: tuple[str, ...]) -> Iterator[tuple[Any, Any]]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        if key in kept:
            continue
        yield from _list_texts(value, kept)
        yield data, key


def _replace_value(holder: Any, key: Any) -> bool:
    if key not in holder if isinstance(holder, dict) else not isinstance(holder[key], str):
        return False
    if not isinstance(holder[key], str):
        return False
    holder[key] = HOSTILE
    return True


def _replace_key(holder: Any, key: Any) -> bool:
    if not isinstance(holder, dict) or key not in holder:
        return False
    holder[f"{key}{HOSTILE}"] = holder.pop(key)
    return True


def find_terminal_dangers(text: str, *, colored: bool = False) -> list[str]:
    """Return the lines of an output that a terminal or a CI service would not just show.

    Args:
        text: the output.
        colored: whether the harness itself has colored it.
    """
    lines = (_COLORS.sub("", text) if colored else text).split("\n")
    return [line for line in lines if not line.isprintable() or is_command(line)]


def is_command(line: str) -> bool:
    """Return whether a runner of GitHub, Azure or TeamCity executes a line."""
    words = line.strip()
    return bool(re.match(r"::[A-Za-z-]+( .*)?::", words) or re.search(r"##\w*\[", words))


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.dangers: list[str] = []
        self.scripts = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        for name, value in attrs:
            is_link = name in {"href", "src", "action", "formaction", "srcdoc", "data"}
            if (
                name.startswith("on")
                or name == "style"
                or (is_link and not _SAFE_LINKS.fullmatch(value or ""))
            ):
                self.dangers.append(f"<{tag} {name}={value}>")

    handle_startendtag = handle_starttag

    def handle_comment(self, data: str) -> None:
        self.dangers.append(f"<!--{data}-->")


def find_page_dangers(text: str, scripts: int) -> list[str]:
    """Return the parts of a page that are active, or invisible; ``scripts`` is the number of its own."""
    page = _Page(text)
    surplus = [f"{page.scripts} scripts"] if page.scripts != scripts else []
    invisible = [repr(line) for line in text.split("\n") if not line.isprintable()]
    return page.dangers + surplus + invisible


def find_markdown_dangers(text: str) -> list[str]:
    """Return the parts of a Markdown document that are active on GitHub or in a page, or invisible."""
    invisible = [repr(line) for line in text.split("\n") if not line.isprintable()]
    return invisible + [
        f"{token.type}: {token.content}"
        for token in _list_tokens(MarkdownIt("commonmark").enable("table").parse(text))
        if _is_active(token)
    ]


def _list_tokens(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _list_tokens(token.children or [])


def _is_active(token: Token) -> bool:
    if token.type in {"html_block", "html_inline"}:
        return not set(token.content.split("\n")) - {""} <= OUR_MARKUP
    if token.type in {"image", "link_open"}:
        return not str(token.attrs.get("href")).startswith("../")
    references = r"@\w|#\d|\bGH-\d|://|\bwww\."
    return token.type == "text" and re.search(references, token.content, re.IGNORECASE) is not None
