"""The prose checker: docstring openings, banned words, spelling, and the marker that allows a line."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "check_prose.py"))
main = TOOL["main"]


def check(root: Path, name: str, text: str) -> int:
    """Write one file into a clone and return the exit code of a check of all its files."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    code: int = main(["--root", str(root)])
    return code


@pytest.mark.parametrize(
    "docstring",
    [
        "What it is.",
        "Whether it is.",
        "how.",
        "Where?",
        "Which of both",
        "Who",
        "Whatever",
        "What's left",
        "``What``",
    ],
)
def test_docstring_that_begins_with_a_question_word_fails(
    docstring: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tmp_path, "harness/a.py", f'def f():\n    """{docstring}"""\n') == 1
    assert capsys.readouterr().out.startswith("harness/a.py:2: docstring begins with ")


@pytest.mark.parametrize(
    "source",
    [
        '"""What a module is."""\n',
        'class A:\n    """What a class is."""\n',
        'A = 1\n"""What a constant is."""\n',
        'async def f():\n    """What a coroutine does."""\n',
    ],
)
def test_every_kind_of_docstring_is_checked(source: str, tmp_path: Path) -> None:
    assert check(tmp_path, "tests/a.py", source) == 1


@pytest.mark.parametrize("docstring", ["Return what differs.", "Whole spans.", "Showcase.", "Wholesale."])
def test_other_docstring_passes(docstring: str, tmp_path: Path) -> None:
    assert check(tmp_path, "harness/a.py", f'"""{docstring}"""\n') == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("# two pictures", "'pictures': write image"),
        ("text = 'no SOUND'", "'SOUND': write audio"),
        ("engine_told = 1", "'told': write passed, processor_kwargs"),
        ("class VideoSound: ...", "'Sound': write audio"),
        ("# nothing lets a\n# release through", "'lets a # release through': write pass"),
        ("# the only way in", "'way in': write entry point"),
        ("# Normalised", "'Normalised': write Normalized"),
        ("grey_level = 0", "'grey': write gray"),
        ("# centred colours", "'centred': write centered"),
        ("# judgement", "'judgement': write judgment"),
    ],
)
def test_banned_word_or_british_spelling_fails(
    line: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tmp_path, "harness/a.py", f"\n{line}\n") == 1
    assert f"harness/a.py:2: {message}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text", ["# soundness", "import soundfile", "# filming", "# four hours", "# invariants"]
)
def test_word_inside_a_longer_word_passes(text: str, tmp_path: Path) -> None:
    assert check(tmp_path, "harness/a.py", f"{text}\n") == 0


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("harness/a.py", "a = 'picture'  # prose: ok\n"),
        ("harness/a.py", 'a = f"""\n{b} pictures\n"""  # prose: ok\n'),
        ("docs/guides/a.md", "A picture. <!-- prose: ok -->\n"),
        ("harness/report/a.html.j2", "A picture {# prose: ok #}\n"),
    ],
)
def test_marked_line_passes_and_unmarked_line_fails(name: str, text: str, tmp_path: Path) -> None:
    assert check(tmp_path, name, text) == 0
    assert check(tmp_path, name, text.replace("prose: ok", "")) == 1


@pytest.mark.parametrize(
    "name", ["cases/a.yaml", "CHANGELOG.md", "harness/a.jinja", ".tox/a.py", "docs/.cache/a.md"]
)
def test_case_texts_chat_templates_and_hidden_folders_are_not_checked(name: str, tmp_path: Path) -> None:
    assert check(tmp_path, name, "picture\n") == 0


def test_only_named_files_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.md").write_text("A film.\n")
    (tmp_path / "b.md").write_text("A film.\n")
    assert main([str(tmp_path / "b.md")]) == 1
    assert capsys.readouterr().out == f"{tmp_path / 'b.md'}:1: 'film': write video, video file\n"


def test_help_lists_the_rules(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    shown = capsys.readouterr().out
    assert "how-manieth" in shown
    assert "<!-- prose: ok -->" in shown
