"""Explanations of prompts with different timestamps of frames."""

from __future__ import annotations

from tests.support.findings import VIDEO_PAD, explain_traces, format_turn, list_found_causes, render_text
from vlm_parity.schema.trace import Span, Trace


def clip(*times: str, note: str = "") -> Trace:
    """Build a video of two frames, each after its timestamp, like the processor of Qwen3-VL."""
    frames = "".join(f"<{time} seconds><|vision_start|>{VIDEO_PAD}<|vision_end|>" for time in times)
    trace = render_text(format_turn(f"{frames}What happens?{note}"), *[4] * len(times))
    positions = [position for span in trace.spans or () for position in span.positions]
    return trace.model_copy(update={"spans": (Span.of("video", 0, positions),)})


def test_other_times() -> None:
    (found,) = explain_traces(clip("0.2", "1.2"), clip("0.2", "1.7"))
    assert found.cause == "frame timestamps differ"
    assert "<1.2 seconds>" in found.explanation
    assert "<1.7 seconds>" in found.explanation
    assert "at 1 place." in found.explanation


def test_other_words_are_no_times() -> None:
    assert "frame timestamps differ" not in list_found_causes(clip("0.2", "1.2"), clip("0.2", "late"))


def test_numbers_of_a_prompt_without_a_video_are_no_times() -> None:
    reference, tested = (render_text(format_turn(f"What is {number} times 2?")) for number in ("3", "4"))
    assert "frame timestamps differ" not in list_found_causes(reference, tested)
