"""Escaping: nothing of a text is active in its medium, and what is harmless stays readable."""

from __future__ import annotations

import re
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.support.hostile_text import (
    HOSTILE,
    find_markdown_dangers,
    find_page_dangers,
    find_terminal_dangers,
    is_command,
)
from vlm_parity.util.text import (
    escape_html,
    escape_markdown,
    escape_terminal,
    format_annotation,
    format_code_block,
    hide_passwords,
)

PIECES = st.sampled_from(
    [
        *("::", "error", " ", "\n", "x::", "##[", "##vso[", "@a", "#1", "GH-1", "<b>", "![a](b)", "`", "```"),
        *("|", "\\", "*", "_", "~~", "- ", "1. ", "{: x=y }", "://", "www.", "\x1b[31m", "\u202e", "\x85"),
        *("\r", "é"),
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=3), max_size=12).map("".join)


@given(TEXTS)
def test_a_terminal_only_shows_text(text: str) -> None:
    assert not find_terminal_dangers(escape_terminal(text))


@given(TEXTS, st.integers(1, 40))
def test_a_wrapped_line_is_no_command_either(text: str, width: int) -> None:
    escaped = escape_terminal(text).replace("\n", " ")
    lines = [escaped[start : start + width] for start in range(0, len(escaped), width)]
    assert not find_terminal_dangers("\n".join(lines))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("::error::x", ":\\:error::x"),
        ("  ::set-output name=a::b", "  :\\:set-output name=a::b"),
        ("##[error]x", "#\\#[error]x"),
        ("\x1b[31mred\x9b", "\\x1b[31mred\\x9b"),
        ("cases/test_a.py::test_b[x]: 1::2", "cases/test_a.py::test_b[x]: 1::2"),
        ("std::runtime_error in c10::Error", "std::runtime_error in c10::Error"),
        ("two\r\nlines: é", "two\nlines: é"),
    ],
)
def test_terminal_text_stays_readable(text: str, shown: str) -> None:
    assert escape_terminal(text) == shown


@given(TEXTS, TEXTS)
def test_an_annotation_is_one_command_whose_texts_end_nothing(title: str, message: str) -> None:
    line = format_annotation("error", title, message)
    assert line.isprintable()
    start, properties, rest = line.split("::", 2)
    assert start == ""
    assert properties.startswith("error title=")
    assert properties.count("=") == title.count("=") + 1
    assert not {":", ","} & set(properties)
    assert not is_command(rest)


def test_an_annotation_encodes_its_lines_and_percent_signs() -> None:
    line = format_annotation("warning", "a: b, c", "50 %\ntwo::lines")
    assert line == "::warning title=a%3A b%2C c::50 %25%0Atwo::lines"


@given(TEXTS)
def test_a_page_only_shows_text(text: str) -> None:
    assert not find_page_dangers(f'<p title="{escape_html(text)}">{escape_html(text)}</p>', scripts=0)


@given(TEXTS)
def test_markdown_only_shows_text(text: str) -> None:
    line = escape_markdown(text)
    assert not find_markdown_dangers(line)
    assert not find_markdown_dangers(f"| a | b |\n|---|---|\n| {line} | c |")
    cells = MarkdownIt("commonmark").enable("table").render(f"| a | b |\n|---|---|\n| {line} | c |")
    assert cells.count("<td>") == 2
    assert "<td>c</td>" in cells


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("input_ids differ at 0.5", "input_ids differ at 0.5"),
        ("fixes #1, @bob", "fixes `#1,` `@bob`"),
        ("<img> & a|b `x`", "&lt;img&gt; &amp; a&#124;b &#96;x&#96;"),
        ("- a", "\\- a"),
        ("12. a", "12\\. a"),
        ("two\n lines", "two lines"),
        ("{: onclick=x }", "\\{: onclick=x \\}"),
        ("__init__", "\\_\\_init\\_\\_"),
    ],
)
def test_markdown_text_stays_readable(text: str, shown: str) -> None:
    assert escape_markdown(text) == shown


@given(TEXTS)
def test_a_block_of_code_cannot_be_left(text: str) -> None:
    block = format_code_block(text)
    assert not find_markdown_dangers(block)
    (token,) = MarkdownIt("commonmark").parse(block)
    assert token.type == "fence"


def test_the_fence_is_longer_than_any_in_the_text() -> None:
    fence = format_code_block("a ````` b").split("\n")[0]
    assert re.fullmatch("`{6}", fence)


@pytest.mark.parametrize("text", ["::a ", "::", "@", "#", "_", "`", "a", "- "])
def test_long_texts_take_no_longer_than_their_length(text: str) -> None:
    start = perf_counter()
    for escape in (escape_html, escape_terminal, escape_markdown, format_code_block):
        escape(text * (200_000 // len(text)))
    assert perf_counter() - start < 10


def test_the_checks_find_the_hostile_text_itself() -> None:
    assert len(find_terminal_dangers(HOSTILE)) == 4
    assert len(find_markdown_dangers(HOSTILE)) == 4
    assert len(find_page_dangers(HOSTILE, scripts=0)) > 2


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (
            "--store postgresql://me:s3:cr@t@host:5432/runs -x",
            "--store postgresql://me:***@host:5432/runs -x",
        ),
        ("postgresql+psycopg://:secret@/runs", "postgresql+psycopg://:***@/runs"),
        ("http://host:80/a https://me@host/b", "http://host:80/a https://me@host/b"),
        ("http://host:80/a@b", "http://host:80/a@b"),
    ],
)
def test_passwords_of_urls_are_hidden(text: str, hidden: str) -> None:
    assert hide_passwords(text) == hidden
