"""The oracle of the fuzzer: sentences, results, and each kind of finding."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.byte_fuzzer import oracle
from tests.byte_fuzzer.findings import INPUT, REPORT, list_findings, write_finding
from tests.byte_fuzzer.oracle import Outcome, Reading, limit_memory, read_content
from tests.byte_fuzzer.target import Target
from vlm_parity.util.errors import ParityError


def read_as(read: Callable[[bytes], object], folder: Path, content: bytes = b"content") -> Reading:
    """Read a content by a function of its bytes."""
    target = Target("t", "file", lambda _: None, lambda path: read((path / "file").read_bytes()))
    return read_content(target, folder, content)


def fail(error: BaseException) -> Callable[[bytes], object]:
    def read(_: bytes) -> None:
        raise error

    return read


def test_a_sentence_and_a_result_are_no_findings(tmp_path: Path) -> None:
    assert read_as(fail(ParityError("file: no number")), tmp_path) == Reading(Outcome.SENTENCE)
    assert read_as(len, tmp_path) == Reading(Outcome.RESULT)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("file: \ud800", "unprintable sentence"),
        ("", "no sentence"),
        ("Traceback (most recent call last)", "no sentence"),
    ],
)
def test_a_bad_sentence_is_a_finding(tmp_path: Path, text: str, key: str) -> None:
    reading = read_as(fail(ParityError(text)), tmp_path)
    assert (reading.outcome, reading.key) == (Outcome.FINDING, key)


def test_an_exception_is_a_finding_with_its_traceback(tmp_path: Path) -> None:
    reading = read_as(int, tmp_path)
    assert (reading.outcome, reading.key) == (Outcome.FINDING, "ValueError ")
    assert "invalid literal for int()" in reading.report


def test_a_slow_reading_is_a_finding_even_if_it_catches_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oracle, "MAX_SECONDS", 0.05)

    def spin(_: bytes) -> None:
        while True:
            sum(range(1000))

    def catch(_: bytes) -> None:
        try:
            spin(b"")
        except BaseException:
            return

    for read in (spin, catch):
        reading = read_as(read, tmp_path)
        assert (reading.outcome, reading.key.split()[0]) == (Outcome.FINDING, "slow")


def test_a_reading_that_needs_too_much_memory_is_a_finding(tmp_path: Path) -> None:
    pid = os.fork()  # the limit stays
    if pid == 0:
        limit_memory()
        reading = read_as(lambda _: bytes(oracle.MAX_BYTES + 2**28), tmp_path)
        os._exit(0 if reading.key.startswith("MemoryError") else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_finding_is_written_once_with_its_bytes_and_a_command(tmp_path: Path) -> None:
    target = Target("case", "case.yaml", lambda _: None, lambda _: None)
    reading = Reading(Outcome.FINDING, "KeyError case_file.py:load_case", "Traceback ...")
    assert write_finding(tmp_path, target, b"\xff", reading)
    assert not write_finding(tmp_path, target, b"other", reading)
    (finding,) = list_findings(tmp_path)
    assert (finding / INPUT).read_bytes() == b"\xff"
    lines = (finding / REPORT).read_text().splitlines()
    assert lines[0] == reading.key
    assert lines[1] == f"reproduce: tox -e fuzz-bytes -- --target case --reproduce {finding / INPUT}"
