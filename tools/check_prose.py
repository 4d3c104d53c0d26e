"""Check docstring openings, banned words and American spelling in code and documentation."""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

FILES = [
    *("harness/**/*.py", "tests/**/*.py", "cases/**/*.py", "benchmarks/**/*.py", "tools/**/*.py", "*.py"),
    *("*.md", "docs/**/*.md", "cases/**/*.md", "benchmarks/**/*.md", "harness/**/*.j2"),
    *("harness/**/*.toml", "cases/**/*.toml", "*.toml", "tox.ini"),
]
EXCLUDED = ["CHANGELOG.md", "tools/check_prose.py", "tests/tools/test_check_prose.py"]
"""Files that have to quote the words. Not listed at all: case texts, and chat templates (``*.jinja``)."""

OPENINGS = r"\W*(what|whether|how|where|which|who)(m|se|ever|soever|['\u2019]s)?\b"
WORDS = {  # pattern: what to write instead; a space in a pattern also matches a line break
    r"pictures?": "image",
    r"films?": "video, video file",
    r"sounds?": "audio",
    r"heard": "audio input, with_audio_track",
    r"told": "passed, processor_kwargs",
    r"variants?": "mode, entry point",
    r"ways? in": "entry point",
    r"ledgers?": "known issues",
    r"(cry|cries) wolf": "raise a false alarm",
    r"last words": "output tail",
    r"lets? a release through": "pass",
    r"how-manieth": "index, ordinal",
}
SPELLINGS = {  # British: American
    r"(categor|custom|general|initial|material|maxim|minim|normal|optim|organ|parametr|penal|quant|real|recogn"
    r"|serial|special|standard|summar|synchron|token|util|visual)is(e[drs]?|ing|ations?)": r"\1iz\2",
    r"(behavi|col|fav|flav|hon|lab|neighb)our(s|ed|ing|hoods?|able|ite)?": r"\1or\2",
    r"(cancel|label|model|signal)l(ed|ing)": r"\1\2",
    r"analyse(s|d)?": r"analyze\1",
    r"artefact(s)?": r"artifact\1",
    r"catalogue(s|d)?": r"catalog\1",
    r"centre(s)?": r"center\1",
    r"centr(ed|ing)": r"center\1",
    r"grey(s|scale|ed)?": r"gray\1",
    r"judgement(s)?": r"judgment\1",
    r"licence(s|d)?": r"license\1",
}
ALLOWED = "prose: ok"
HELP = f"""\
A docstring begins with a verb in the imperative, or with a noun phrase for a class, a module or an
attribute: never with what, whether, how, where, which or who. Spelling is American.
Words to replace, also inside identifiers:

{"".join(f"  {word:30} {better}{chr(10)}" for word, better in WORDS.items())}
Where a word is data (test input, an older file format, an engine's own name), put '{ALLOWED}' in a
comment on its line: '# {ALLOWED}' in Python and TOML, '<!-- {ALLOWED} -->' in Markdown,
'{{# {ALLOWED} #}}' in templates. On the first or last line of a string it holds for the whole string.
The rules are tables at the top of tools/check_prose.py. Exit code: 0 clean, 1 violations."""

_GAP = r"(?:[ \t]+|[ \t]*\n[ \t]*(?:# ?)?)"
_PATTERNS = [
    (re.compile(rf"\b(?:{pattern.replace(' ', _GAP)})\b", re.IGNORECASE), better)
    for pattern, better in [*WORDS.items(), *SPELLINGS.items()]
]
_JOINS = re.compile(r"_|(?<=[a-z0-9])(?=[A-Z])")

Violation = tuple[int, str]
"""A line number and a message."""


def docstring_violations(tree: ast.Module) -> Iterator[Violation]:
    """Yield each docstring, attributes' included, that begins with one of the six words."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found = re.match(OPENINGS, str(node.value.value), re.IGNORECASE)
            if found and isinstance(node.value.value, str):
                yield node.lineno, f"docstring begins with '{found[0].strip()}': begin with a verb or a noun"


def word_violations(text: str, allowed: frozenset[int] = frozenset()) -> Iterator[Violation]:
    """Yield banned words and British spellings; identifiers are split at underscores and capitals.

    Args:
        text: the content of a file.
        allowed: numbers of lines to leave out, besides those with the marker.
    """
    skip = allowed | {number for number, line in enumerate(text.split("\n"), 1) if ALLOWED in line}
    text = _JOINS.sub(" ", text)
    for pattern, better in _PATTERNS:
        for found in pattern.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            if line not in skip:
                yield line, f"'{' '.join(found[0].split())}': write {found.expand(better)}"


def allowed_lines(tree: ast.Module, text: str) -> frozenset[int]:
    """Return all lines of the strings that carry the marker on their first or last line."""
    lines = text.split("\n")
    spans = [
        (node.lineno, node.end_lineno or node.lineno)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
    ]
    marked = [span for span in spans if any(ALLOWED in lines[number - 1] for number in span)]
    return frozenset(number for first, last in marked for number in range(first, last + 1))


def check_file(path: Path) -> list[Violation]:
    """Check the words of a file and, in Python, its docstrings."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return sorted(word_violations(text))
    tree = ast.parse(text, str(path))
    return sorted([*docstring_violations(tree), *word_violations(text, allowed_lines(tree, text))])


def find_files(root: Path) -> list[Path]:
    """List the files of a clone that are to be checked."""
    found = {path for pattern in FILES for path in root.glob(pattern)} - {root / name for name in EXCLUDED}
    return sorted(path for path in found if not any(p.startswith(".") for p in path.relative_to(root).parts))


def main(argv: Sequence[str] | None = None) -> int:
    """Print each violation as ``path:line: message``; return 1 if there is any."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="files to check (default: all)")
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="clone to search")
    arguments = parser.parse_args(argv)
    count = 0
    for path in arguments.paths or find_files(arguments.root):
        for line, message in check_file(path):
            shown = path.relative_to(arguments.root) if path.is_relative_to(arguments.root) else path
            sys.stdout.write(f"{shown}:{line}: {message}\n")
            count += 1
    sys.stderr.write(f"{count} violations\n" if count else "")
    return 1 if count else 0


if __name__ == "__main__":
    raise SystemExit(main())
