"""Escaping of untrusted text from models, cases and engines: one function for each medium.

======================  =====================================================================
``escape_html``         pages and SVG
``escape_terminal``     terminals, and logs of CI services, which execute commands in them
``escape_markdown``     Markdown documents and the text of issues, within a line
``format_code_block``   the same, in a block of its own
``format_annotation``   a command of GitHub Actions that annotates a run
======================  =====================================================================

Text is escaped once, by the code that writes it to its medium, so that records and messages stay as they
are. ``report.json`` is data and needs nothing.
"""

from __future__ import annotations

import re

from markupsafe import Markup, escape

_MARKDOWN_CHARACTERS = re.compile(r"[\\*\[\]{}#]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
"""Characters of emphasis, links, images, headings and attributes. Within a word an underscore is none."""
_MARKDOWN_LINE_START = re.compile(r"(\d{0,9})([-+=.)])(?=\s|[-+=]|$)")
"""The mark of a list item, or of the underline of a heading."""
_MARKDOWN_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "`": "&#96;", "~": "&#126;"}
"""Escaped by an entity, which every dialect of Markdown reads, also in a table."""
_MARKDOWN_WORDS = re.compile(r"([\s|`\\]+)")
"""Separates words that can be code in every place, also in a table."""
_REFERENCE = re.compile(r"@|#\d|\bGH-\d|://|\bwww\.|\b(?:mailto|xmpp):", re.IGNORECASE)
"""Part of a word that GitHub turns into a mention, a reference to an issue (``fixes #1`` closes it), or a
link."""
_CI_COMMAND = re.compile(r"::(?=[A-Za-z][A-Za-z-]*(?:[ \t][^\n]*?)?::)|##(?=\w*\[)")
"""``::error file=f::text`` (GitHub), ``##[error]text``, ``##vso[...]`` (Azure), ``##teamcity[...]``.

Anywhere in a line: a line may be wrapped.
"""
_PASSWORD = re.compile(r"(://[^/\s:@]*:)[^/\s]*@")
"""The password of a URL, with what is before it."""
_MAX_BLOCK_LENGTH = 4000


def escape_invisible(text: str) -> str:
    """Replace unprintable characters, such as control and direction characters, by their escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def escape_invisible_lines(text: str) -> str:
    """Escape each line as ``escape_invisible`` does and keep the line breaks."""
    return "\n".join(map(escape_invisible, text.replace("\r\n", "\n").split("\n")))


def escape_html(text: str) -> Markup:
    """Escape text for a page: markup characters, and everything that is invisible in a browser."""
    return escape(escape_invisible_lines(text))


def escape_terminal(text: str) -> str:
    """Escape text for a terminal or a CI log: control sequences, direction characters and CI commands.

    A command is broken by a backslash between its first two characters.
    """
    return _CI_COMMAND.sub(lambda found: "\\".join(found[0]), escape_invisible_lines(text))


def escape_markdown(text: str) -> str:
    """Escape text for Markdown as one line that is plain in every dialect, also within a table.

    GitHub finds mentions, references to issues and links in the rendered text, where no escape helps, so
    such words become code.
    """
    words = _MARKDOWN_WORDS.split(escape_invisible(" ".join(text.split())))
    line = "".join(
        f"`{word}`" if _REFERENCE.search(word) else _escape_markdown_characters(word) for word in words
    )
    start = _MARKDOWN_LINE_START.match(line)
    return line if start is None else f"{start[1]}\\{line[start.start(2) :]}"


def format_code_block(text: str, language: str = "") -> str:
    """Format a block of code in Markdown; its fence is longer than any in the text, which cannot end it."""
    visible = escape_invisible_lines(text)
    shown = visible[:_MAX_BLOCK_LENGTH].rstrip()
    omitted = len(visible) - _MAX_BLOCK_LENGTH
    more = f"\n... ({omitted} more characters)" if omitted > 0 else ""
    longest = max(map(len, re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{shown}{more}\n{fence}"


def format_annotation(level: str, title: str, message: str) -> str:
    """Format a command of GitHub Actions that annotates a run, as a line.

    Args:
        level: ``error``, ``warning`` or ``notice``.
        title: untrusted, shown in bold.
        message: untrusted; may have several lines.
    """
    title = _escape_annotation(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={title}::{_escape_annotation(message)}"


def _escape_annotation(text: str) -> str:
    return escape_terminal(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_markdown_characters(text: str) -> str:
    escaped = _MARKDOWN_CHARACTERS.sub(lambda found: f"\\{found[0]}", text)
    return "".join(_MARKDOWN_ENTITIES.get(sign, sign) for sign in escaped)


def hide_passwords(text: str) -> str:
    """Return a text with ``***`` for the password of each URL in it: ``postgresql://me:***@host/name``."""
    return _PASSWORD.sub(r"\1***@", text)
