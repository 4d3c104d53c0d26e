"""Records in TOML files: every mistake is reported with the file, the line, the entry and the field."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vlm_parity.schema.toml_records import NamedRecord, read_toml_records
from vlm_parity.util.errors import UsageError


class Fruit(NamedRecord):
    color: str
    weight: int = 1


APPLE = '[[fruit]]\nname = "apple"\ncolor = "red"\n'


def read(path: Path) -> tuple[Fruit, ...]:
    return read_toml_records(path, "fruit", Fruit, UsageError)


def read_error(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read(path)
    return str(caught.value).replace(str(path), "FILE")


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "fruits.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_records_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    fruits = read(write(tmp_path, APPLE + APPLE.replace("apple", "beet").replace("\n", "\r\n")))
    assert [fruit.name for fruit in fruits] == ["apple", "beet"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "FILE: fruit: is missing"),
        ("fruit = 3\n", "FILE: fruit: must be a list"),
        (APPLE + "shade = 1\n", "FILE:4: entry apple, shade: no such key here"),
        (APPLE.replace('"red"', "3"), "FILE:3: entry apple, color: must be text"),
        (APPLE.replace('color = "red"\n', ""), "FILE:1: entry apple, color: is missing"),
        ('[[fruit]]\ncolor = "red"\n', "FILE:1: entry 1, name: is missing"),
        (APPLE + "\n" + APPLE, "FILE:6: entry apple, name: is also the name of entry 1"),
        ("fruit = [3]\n", "FILE: entry 1: must be a mapping"),
        (APPLE + 'color = "blue"\n', "FILE: Cannot overwrite a value (at line 4, column 15)"),
        (APPLE + "weight = 2026-02-30\n", "FILE: Invalid date or datetime (at line 4, column 10)"),
        (APPLE + f"weight = {'9' * 5000}\n", "FILE: Exceeds the limit (4300 digits)"),
        (APPLE + "weight = " + "[" * 5000 + "\n", "FILE: too many lists and tables within each other"),
        (APPLE.encode() + b"\n# na\xefve\n", "FILE:5: not UTF-8: the byte 0xef"),
        (b"a\0b", "FILE: "),
        (b"#" * 2**20 + b"#", "FILE: is too large: 1,048,577 bytes or more, and the limit is 1,048,576"),
    ],
)
def test_mistake_is_located(tmp_path: Path, content: str | bytes, message: str) -> None:
    error = read_error(write(tmp_path, content))
    assert error.startswith(message)
    assert "\n" not in error


def test_a_header_within_a_text_moves_no_line(tmp_path: Path) -> None:
    text = APPLE.replace('"red"', '"""\n[[fruit]]\n"""')
    assert read_error(write(tmp_path, text + "weight = true\n" + "shade = 1\n")) == (
        "FILE: entry apple, shade: no such key here"
    )


def test_only_the_first_of_many_errors_are_listed(tmp_path: Path) -> None:
    error = read_error(write(tmp_path, APPLE + "".join(f"key{number} = 1\n" for number in range(500))))
    assert error.count("\n") == 20
    assert error.endswith("\nand 480 more errors")


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert read_error(tmp_path) == "FILE: is a folder, not a file"
    assert read_error(tmp_path / "pipe") == "FILE: is a pipe, not a file"
    assert read_error(tmp_path / "loop") == "FILE: too many levels of symbolic links"
    assert read_error(tmp_path / "missing") == "FILE: no such file"
    assert read_error(Path("/dev/zero")) == "FILE: is a device, not a file"
