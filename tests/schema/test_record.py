"""Records: what is on the disk is whole, and what is not is named."""

from __future__ import annotations

import json
import math
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from vlm_parity.schema.record import Record, compute_digest, read_record, write_atomically, write_record
from vlm_parity.util.errors import RecordError


class Sample(Record):
    name: str
    number: float = 0.0


class Stopped(BaseException):
    """As Control-C or a full disk would."""


@given(st.text(), st.floats(allow_nan=False))
def test_a_record_survives_its_json(name: str, number: float) -> None:
    sample = Sample(name=name, number=number)
    assert Sample.model_validate_json(sample.model_dump_json()) == sample


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_json_that_every_parser_reads_holds_what_is_not_finite(tmp_path: Path, number: float) -> None:
    write_record(tmp_path / "a.json", Sample(name="a", number=number))
    assert isinstance(json.loads((tmp_path / "a.json").read_text())["number"], str)
    read = read_record(tmp_path / "a.json", Sample).number
    assert read == number or (math.isnan(read) and math.isnan(number))


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Sample(name="a").name = "b"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "no such file"),
        ("", "Invalid JSON"),
        ('{"name": "half', "Invalid JSON"),
        ('{"number": 1}', "name\n  Field required"),
        ('{"name": "a", "color": "red"}', "color\n  Extra inputs are not permitted"),
        ('{"name": "a", "number": "many"}', "number\n  Input should be a valid number"),
    ],
)
def test_what_is_unreadable_is_named_with_file_and_field(
    tmp_path: Path, content: str | None, what: str
) -> None:
    path = tmp_path / "sample.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(RecordError) as caught:
        read_record(path, Sample)
    assert str(caught.value).startswith(f"{path}: not a readable Sample: ")
    assert what in str(caught.value)


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_only_files_are_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "sample.json"
    os.mkfifo(path) if kind == "pipe" else path.mkdir()
    with pytest.raises(RecordError, match=f"sample.json: not a readable Sample: is a {kind}, not a file"):
        read_record(path, Sample)


def test_writing_makes_the_folder_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.json"
    for content in (b"one", b"two"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_a_file_is_readable_by_everybody(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("step", ["os.fdopen", "pathlib.Path.chmod", "pathlib.Path.replace"])
def test_a_write_that_is_stopped_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, b"old")

    def stop(*_: object, **__: object) -> None:
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(step, stop)
        with pytest.raises(Stopped):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    contents = [bytes([n]) * 200_000 for n in range(2)]
    write_atomically(path, contents[0])
    done = threading.Event()

    def write() -> None:
        for n in range(100):
            write_atomically(path, contents[n % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert path.read_bytes() in contents
    writer.join()


def test_a_digest_depends_on_values_and_not_on_the_order_of_keys() -> None:
    assert compute_digest({"a": 1, "b": [2, 3]}) == compute_digest({"b": [2, 3], "a": 1})
    assert (
        len({compute_digest(value) for value in ({"a": 1}, {"a": "1"}, {"b": 1}, [1, 2], [2, 1], None)}) == 6
    )


class Versioned(Record):
    schema_version: int = 2
    name: str


@pytest.mark.parametrize(
    "content", ['{"schema_version": 1, "name": "a"}', '{"schema_version": 1, "title": "a"}']
)
def test_another_schema_version_is_refused_by_number(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(
        RecordError, match=r"a\.json: Versioned of schema version 1, but .* reads 2: use the version"
    ):
        read_record(path, Versioned)


@pytest.mark.parametrize(
    "content",
    [
        '{"name": "a"}',
        '{"schema_version": [2], "name": "a"}',
        '{"schema_version": null}',
        '{"schema_version": "\\ud800\\u001b[2J"}',
        "[" * 100_000,
    ],
)
def test_a_missing_or_damaged_schema_version_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(RecordError, match=r"a\.json: .*Versioned") as caught:
        read_record(path, Versioned)
    assert str(caught.value).encode().startswith(str(path).encode())
    assert "\x1b" not in str(caught.value)
