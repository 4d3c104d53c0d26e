"""Progress: plain lines where output goes to a file, a bar on a terminal."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console

from vlm_parity.session.progress import Reporter


def capture_two(reporter: Reporter) -> None:
    with reporter.capturing("qwen2_vl vllm", 2) as progress:
        progress.loaded(1.26)
        progress.captured("one_image", "match")
        progress.captured("two_images", "mismatch at input_ids")


def shown(*, terminal: bool) -> str:
    output = io.StringIO()
    capture_two(Reporter(Console(file=output, force_terminal=terminal, width=120), nullcontext))
    return output.getvalue()


def test_every_event_is_a_line_in_a_file() -> None:
    assert shown(terminal=False).splitlines() == [
        "[qwen2_vl vllm] loading",
        "[qwen2_vl vllm] loaded in 1.3 s",
        "[qwen2_vl vllm] 1/2 one_image: match",
        "[qwen2_vl vllm] 2/2 two_images: mismatch at input_ids",
    ]


def test_a_bar_ends_full_on_a_terminal() -> None:
    *_, last, _ = shown(terminal=True).splitlines()  # the very last shows the cursor again
    assert "qwen2_vl vllm: two_images mismatch at input_ids" in last
    assert "2/2" in last


def test_what_looks_like_markup_is_shown_as_it_is() -> None:
    output = io.StringIO()
    reporter = Reporter(Console(file=output, width=120), nullcontext)
    reporter.say("[red] 1 of 2 traces")
    with reporter.capturing("[b]name[/b]", 1) as progress:
        progress.captured("one", "[/]")
    assert output.getvalue().splitlines() == [
        "[red] 1 of 2 traces",
        "[[b]name[/b]] loading",
        "[[b]name[/b]] 1/1 one: [/]",
    ]


def test_everything_is_printed_where_pytest_does_not_capture_it() -> None:
    covered = True

    @contextmanager
    def uncovered() -> Iterator[None]:
        nonlocal covered
        covered = False
        yield
        covered = True

    class Output(io.StringIO):
        def write(self, text: str) -> int:
            assert not covered, text
            return super().write(text)

    output = Output()
    reporter = Reporter(Console(file=output), uncovered)
    reporter.say("hello")
    capture_two(reporter)
    assert covered
    assert len(output.getvalue().splitlines()) == 5
