"""Hypothesis strategies for conversations, as plain cases.

Hypothesis shrinks to the simplest alternatives: one user turn, no text, no media.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from hypothesis import strategies as st

from vlm_parity.fuzz.media_strategies import draw_audio_recipes, draw_images, draw_videos
from vlm_parity.fuzz.search_space import SearchSpace
from vlm_parity.fuzz.text_strategies import draw_texts
from vlm_parity.schema.case import (
    AudioPart,
    Case,
    Content,
    ContentPart,
    ImagePart,
    MediaPart,
    Message,
    ProcessorKwargs,
    Role,
    TextPart,
    ToolCall,
    VideoPart,
)

DRAWN_NAME = "fuzz"
"""The name of a drawn case until it is kept."""
MAX_TURNS, MAX_PARTS, MAX_MEDIA = 4, 4, 4
_ROLES: tuple[Role, ...] = ("user", "assistant", "system")
_AGENT_ROLES: tuple[Role, ...] = ("user", "assistant", "tool", "system", "developer")
_MEDIA_ROLES: tuple[Role, ...] = ("user", "tool")
"""Some templates, such as Qwen3-VL's, drop media of other roles: the reference is invalid then."""
_REASONING = ("reasoning", "reasoning_content")
_VARIABLES = ("enable_thinking", "add_vision_id")
_PROCESSOR_KWARGS = (
    ProcessorKwargs(min_pixels=50_000),
    ProcessorKwargs(max_pixels=5_000),
    ProcessorKwargs(num_frames=2),
    ProcessorKwargs(fps=1.0),
)
"""Few, because vLLM loads its processor anew for each, which takes seconds."""
_ONE_IN = 12
"""One in this many cases has processor kwargs."""


@dataclass(frozen=True)
class VideoOptions:
    """The properties that all videos of a case share."""

    fps: float
    encoded: bool
    with_audio_track: bool


@st.composite
def draw_cases(draw: st.DrawFn, space: SearchSpace) -> Case:
    """Draw a conversation at the depth ``tokens``.

    Args:
        draw: the function of Hypothesis.
        space: of the model.
    """
    video_options = draw(_draw_video_options(space))
    is_agent = _draw_one_in(draw, 4)
    turns = _draw_agent_turns(space, video_options) if is_agent else _draw_plain_turns(space, video_options)
    return Case(
        name=DRAWN_NAME,
        summary="Drawn by the fuzzer.",
        messages=_limit_media(draw(turns)),
        depth="tokens",
        processor_kwargs=draw(_draw_processor_kwargs(space)),
        **(draw(_draw_template_arguments(space)) if is_agent else {}),
    )


@st.composite
def _draw_plain_turns(draw: st.DrawFn, space: SearchSpace, video_options: VideoOptions) -> list[Message]:
    """Draw texts in the usual turns, with media in those of the user."""
    left = MAX_MEDIA
    messages = []
    for role in draw(_draw_roles()):
        content = draw(_draw_contents(space, video_options if role == "user" and left else None))
        messages.append(Message(role=role, content=content))
        left -= sum(not isinstance(part, TextPart) for part in messages[-1].parts)
    return messages


@st.composite
def _draw_agent_turn(draw: st.DrawFn, space: SearchSpace, video_options: VideoOptions) -> Message:
    role = draw(st.sampled_from(_AGENT_ROLES))
    content = draw(_draw_contents(space, video_options if role in _MEDIA_ROLES else None))
    return Message(**{"role": role, "content": content, **draw(_draw_extras(space, role))})


def _draw_agent_turns(space: SearchSpace, video_options: VideoOptions) -> st.SearchStrategy[list[Message]]:
    """Return a strategy for turns of all roles in any order, with what agents add to them."""
    return st.lists(_draw_agent_turn(space, video_options), min_size=1, max_size=MAX_TURNS)


@st.composite
def _draw_extras(draw: st.DrawFn, space: SearchSpace, role: Role) -> dict[str, Any]:
    """Draw what turns of an agent have besides texts and media; null in place of the content now and then."""
    text = draw_texts(space.special)
    extras: dict[str, Any] = {"content": None} if _draw_one_in(draw, 6) else {}
    if role == "tool":
        extras["tool_call_id"] = "call"
    if role == "assistant" and draw(st.booleans()):
        extras[draw(st.sampled_from(_REASONING))] = draw(text)
    if role == "assistant" and draw(st.booleans()):
        extras["tool_calls"] = draw(st.lists(_draw_tool_calls(space), min_size=1, max_size=2).map(tuple))
    return extras


@cache
def _draw_tool_calls(space: SearchSpace) -> st.SearchStrategy[ToolCall]:
    """Return a strategy for calls with arguments as an object, or as JSON text."""
    values = st.one_of(st.integers(-9, 9), st.booleans(), st.none(), draw_texts(space.special))
    arguments = st.dictionaries(st.sampled_from(("a", "b")), st.one_of(values, st.lists(values, max_size=2)))
    return st.one_of(arguments, arguments.map(json.dumps)).map(
        lambda drawn: ToolCall.model_validate(
            {"id": "call", "type": "function", "function": {"name": "look", "arguments": drawn}}
        )
    )


@st.composite
def _draw_template_arguments(draw: st.DrawFn, space: SearchSpace) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if draw(st.booleans()):
        function = {"name": "look", "description": draw(draw_texts(space.special)), "parameters": {}}
        arguments["tools"] = ({"type": "function", "function": function},)
    if _draw_one_in(draw, 3):
        arguments["chat_template_kwargs"] = {draw(st.sampled_from(_VARIABLES)): draw(st.booleans())}
    if _draw_one_in(draw, 4):
        arguments["add_generation_prompt"] = False
    return arguments


def _draw_one_in(draw: st.DrawFn, count: int) -> bool:
    """Draw True once in ``count`` times; Hypothesis shrinks to False."""
    return draw(st.integers(0, count - 1)) == count - 1


@st.composite
def _draw_roles(draw: st.DrawFn) -> list[Role]:
    """Draw mostly the order of roles that templates expect, and sometimes any other."""
    if _draw_one_in(draw, 5):
        return draw(st.lists(st.sampled_from(_ROLES), min_size=1, max_size=MAX_TURNS))
    has_earlier_turn = _draw_one_in(draw, 2)
    turns: list[Role] = ["user", "assistant", "user"] if has_earlier_turn else ["user"]
    return ["system", *turns] if _draw_one_in(draw, 4) else turns


@cache
def _draw_contents(space: SearchSpace, video_options: VideoOptions | None) -> st.SearchStrategy[Content]:
    """Return a strategy for a text or for parts, with media if there are video options."""
    text = draw_texts(space.special)
    medium = _draw_media(space, video_options) if video_options is not None else None
    text_part = text.map(lambda text: TextPart(text=text))
    part: st.SearchStrategy[ContentPart] = text_part if medium is None else st.one_of(text_part, medium)
    parts = st.lists(part, max_size=MAX_PARTS).map(tuple)
    return st.one_of(text, parts) if medium is None else st.one_of(text, parts, parts, parts)


def _limit_media(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Drop the media beyond ``MAX_MEDIA``."""
    media = MAX_MEDIA
    limited = []
    for message in messages:
        if not isinstance(message.content, tuple):
            limited.append(message)
            continue
        kept: list[ContentPart] = []
        for part in message.content:
            if isinstance(part, TextPart) or media:
                kept.append(part)
                media -= not isinstance(part, TextPart)
        limited.append(message.model_copy(update={"content": tuple(kept)}))
    return tuple(limited)


@st.composite
def _draw_video_options(draw: st.DrawFn, space: SearchSpace) -> VideoOptions:
    if "video" not in space.modalities:
        return VideoOptions(space.rates[0], False, False)
    encoded = _draw_one_in(draw, 8)
    with_audio_track = "audio" in space.modalities and not encoded and _draw_one_in(draw, 4)
    return VideoOptions(draw(st.sampled_from(space.rates)), encoded, with_audio_track)


@cache
def _draw_media(space: SearchSpace, video_options: VideoOptions) -> st.SearchStrategy[MediaPart]:
    strategies: list[st.SearchStrategy[MediaPart]] = [
        draw_images(space).map(lambda recipe: ImagePart(image=recipe))
    ]
    if "video" in space.modalities:
        videos = draw_videos(space, video_options.fps, video_options.encoded, video_options.with_audio_track)
        strategies.append(videos.map(lambda recipe: VideoPart(video=recipe)))
    if "audio" in space.modalities:
        strategies.append(draw_audio_recipes().map(lambda recipe: AudioPart(audio=recipe)))
    return st.one_of(strategies)


@cache
def _draw_processor_kwargs(space: SearchSpace) -> st.SearchStrategy[ProcessorKwargs | None]:
    supported = [
        kwargs for kwargs in _PROCESSOR_KWARGS if set(kwargs.as_kwargs) <= set(space.supported_kwargs)
    ]
    return st.sampled_from([*[None] * (_ONE_IN - 1) * len(supported), None, *supported])
