"""Encodings: names that no record can hold are usage errors, and no character ends a session."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vlm_parity.util.encoding import check_encoding
from vlm_parity.util.environment_variables import CACHE_VARIABLE, check_variables
from vlm_parity.util.errors import UsageError
from vlm_parity.util.writable_folder import ensure_writable

NO_TEXT = os.fsdecode(b"model\xff")
"""A file name on a disk that was written with another encoding."""


def run_python(program: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, env={**os.environ, **environment}
    )


def test_text_passes() -> None:
    check_encoding(["--model", "./modèl", "模型", ""])


def test_bytes_that_are_no_text_are_named() -> None:
    with pytest.raises(
        UsageError, match=r"'model\\udcff': not valid in the encoding of the locale \(utf-8\)"
    ):
        check_encoding(["--model", NO_TEXT])


def test_paths_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"model\\udcff': not valid"):
        ensure_writable(tmp_path / NO_TEXT, "the run folder", "name another")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv(CACHE_VARIABLE, NO_TEXT)
    with pytest.raises(UsageError, match=r"model\\udcff': not valid"):
        check_variables()


def test_a_command_line_that_is_no_text_is_a_usage_error() -> None:
    command: list[str | bytes] = [sys.executable, "-m", "vlm_parity", "run", "--model", b"model\xff"]
    done = subprocess.run(command, check=False, capture_output=True)
    assert done.returncode == 2
    assert done.stderr.startswith(
        b"parity run: error: 'model\\udcff': not valid in the encoding of the locale"
    )


@pytest.mark.parametrize(("encoding", "output"), [("ascii", b"mod\\xe8l\n"), ("utf-8", "modèl\n".encode())])
def test_characters_that_the_output_lacks_are_escaped(encoding: str, output: bytes) -> None:
    program = (
        "from vlm_parity.util.encoding import escape_unprintable_output\n"
        "escape_unprintable_output()\n"
        "print('mod\\u00e8l')"
    )
    assert run_python(program, PYTHONIOENCODING=encoding).stdout == output


def test_an_error_handler_of_the_user_is_kept() -> None:
    program = (
        "from vlm_parity.util.encoding import escape_unprintable_output\n"
        "escape_unprintable_output()\n"
        "print('mod\\u00e8l')"
    )
    assert run_python(program, PYTHONIOENCODING="ascii:replace").stdout == b"mod?l\n"
