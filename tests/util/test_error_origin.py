"""The origin of an exception: the harness's own code, or that of an engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vlm_parity.diff.noise_tolerance import compute_rms
from vlm_parity.schema.trace import Span
from vlm_parity.util.error_origin import describe_harness_error, is_harness_error
from vlm_parity.util.errors import (
    EngineCrashedError,
    EngineError,
    HookError,
    ParityError,
    PrivateApiChangedError,
    RecordError,
    UnsupportedError,
)

# This module stands for an engine: it is not in the package.


def fail_in_the_engine(*_: Any) -> None:
    raise KeyError("pixel_values")


def fail_in_a_library_for_the_engine(*_: Any) -> None:
    np.stack([])


def fail_in_the_harness() -> None:
    Span.of("image", 0, [None, 1])  # type: ignore[list-item]


def fail_in_a_library_for_the_harness() -> None:
    compute_rms(object())  # type: ignore[arg-type]


def call_by_the_harness(function: Callable[[], Any]) -> None:
    """Let the harness call a function, as it calls an engine."""

    def positions() -> Any:
        yield function()

    Span.of("image", 0, positions())


def catch(function: Callable[[], Any]) -> Exception:
    try:
        function()
    except Exception as error:
        return error
    pytest.fail("nothing was raised")


def crash_from(function: Callable[[], Any], kind: type[Exception] = EngineCrashedError) -> Exception:
    def wrap() -> None:
        try:
            function()
        except Exception as error:
            raise kind("the step failed") from error

    return catch(wrap)


@pytest.mark.parametrize("function", [fail_in_the_engine, fail_in_a_library_for_the_engine])
def test_an_engine_that_the_harness_calls_fails_itself(function: Callable[[], Any]) -> None:
    assert not is_harness_error(catch(lambda: call_by_the_harness(function)))
    assert not is_harness_error(crash_from(function))


@pytest.mark.parametrize("function", [fail_in_the_harness, fail_in_a_library_for_the_harness])
def test_the_harness_fails_itself_even_inside_an_engine(function: Callable[[], Any]) -> None:
    assert is_harness_error(catch(function))
    assert is_harness_error(catch(lambda: call_by_the_harness(function)))
    assert is_harness_error(crash_from(function))
    assert is_harness_error(crash_from(function, EngineError))


@pytest.mark.parametrize("kind", [EngineError, EngineCrashedError, UnsupportedError])
def test_a_statement_about_the_engine_is_no_failure_of_the_harness(kind: type[ParityError]) -> None:
    assert not is_harness_error(catch(lambda: fail_as(kind)))


@pytest.mark.parametrize("kind", [PrivateApiChangedError, HookError])
def test_a_statement_about_the_harness_is_its_failure(kind: type[ParityError]) -> None:
    assert is_harness_error(catch(lambda: fail_as(kind)))


def test_a_record_that_the_harness_cannot_read_is_its_failure() -> None:
    def read() -> None:
        from pathlib import Path

        from vlm_parity.schema.trace import read_trace

        read_trace(Path("nowhere"))

    error = catch(read)
    assert isinstance(error, RecordError)
    assert is_harness_error(error)


def fail_as(kind: type[ParityError]) -> None:
    raise kind("a sentence")


def test_a_description_has_the_last_frames_without_the_place_of_the_installation() -> None:
    first, *frames = describe_harness_error(catch(fail_in_the_harness)).splitlines()
    assert first.startswith("TypeError: ")
    assert frames[-2].startswith("  vlm_parity/schema/trace.py, line ")
    assert frames[-2].endswith(", in of")
    assert frames[-1] == "    ordered = sorted(positions)"
    assert "  test_error_origin.py, line " in "\n".join(frames)


def test_a_description_of_a_crash_names_what_caused_it() -> None:
    assert describe_harness_error(crash_from(fail_in_the_harness)).startswith("TypeError: ")


def test_a_moved_name_says_that_the_harness_does_not_fit() -> None:
    text = describe_harness_error(catch(lambda: fail_as(PrivateApiChangedError)))
    assert text.startswith(
        "the harness does not fit this version of the engine: PrivateApiChangedError: a sentence\n"
    )


def test_the_frames_of_a_hook_are_in_its_message_already() -> None:
    assert describe_harness_error(catch(lambda: fail_as(HookError))) == "HookError: a sentence"
