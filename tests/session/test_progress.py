"""Progress: plain lines where output goes to a file, a bar on a terminal."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console

from vlm_parity.session.progress import ProgressReporter


def capture_two(reporter: ProgressReporter) -> None:
    with reporter.track_capture("qwen2_vl vllm", 2) as progress:
        progress.report_load(1.26)
        progress.report_result("one_image", "match")
        progress.report_result("two_images", "mismatch at input_ids")


def shown(*, terminal: bool) -> str:
    output = io.StringIO()
    capture_two(ProgressReporter(Console(file=output, force_terminal=terminal, width=120), nullcontext))
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
    reporter = ProgressReporter(Console(file=output, width=120), nullcontext)
    reporter.report("[red] 1 of 2 traces")
    with reporter.track_capture("[b]name[/b]", 1) as progress:
        progress.report_result("one", "[/]")
    assert output.getvalue().splitlines() == [
        "[red] 1 of 2 traces",
        "[[b]name[/b]] loading",
        "[[b]name[/b]] 1/1 one: [/]",
    ]


def test_everything_is_printed_where_pytest_does_not_capture_it() -> None:
    covered = True

    @contextmanager
    def capture_disabled() -> Iterator[None]:
        nonlocal covered
        covered = False
        yield
        covered = True

    class Output(io.StringIO):
        def write(self, text: str) -> int:
            assert not covered, text
            return super().write(text)

    output = Output()
    reporter = ProgressReporter(Console(file=output), capture_disabled)
    reporter.report("hello")
    capture_two(reporter)
    assert covered
    assert len(output.getvalue().splitlines()) == 5
