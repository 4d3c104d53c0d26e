"""Conversations as plain cases: Hypothesis strategies, no engine.

What is drawn first is what Hypothesis shrinks to: one turn of the user, no text, no medium.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

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
    VideoPart,
)

DRAWN_NAME = "fuzz"
"""The name of a case that is drawn and not kept."""
MAX_TURNS, MAX_PARTS, MAX_MEDIA = 4, 4, 4
_ROLES: tuple[Role, ...] = ("user", "assistant", "system")
_ARGUMENTS = (
    ProcessorKwargs(min_pixels=50_000),
    ProcessorKwargs(max_pixels=5_000),
    ProcessorKwargs(num_frames=2),
    ProcessorKwargs(fps=1.0),
)
"""Few: vLLM loads its processor anew for each, which takes seconds."""
_ONE_IN = 12
"""How often a processor is told anything."""


@dataclass(frozen=True)
class MediaKinds:
    """What is the same for all videos of a case."""

    fps: float
    encoded: bool
    heard: bool


@st.composite
def draw_cases(draw: st.DrawFn, ground: SearchSpace) -> Case:
    """A conversation for a model, at the depth ``tokens``."""
    kinds = draw(_draw_kinds(ground))
    roles = draw(_draw_roles())
    left = MAX_MEDIA
    messages = []
    for role in roles:
        content = draw(_draw_contents(ground, kinds if role == "user" and left else None))
        if not isinstance(content, str):
            content = _limit_media(content, left)
            left -= sum(not isinstance(part, TextPart) for part in content)
        messages.append(Message(role=role, content=content))
    return Case(
        name=DRAWN_NAME,
        summary="Drawn by the fuzzer.",
        messages=tuple(messages),
        depth="tokens",
        processor_kwargs=draw(_draw_processor_kwargs(ground)),
    )


@st.composite
def _draw_roles(draw: st.DrawFn) -> list[Role]:
    """Mostly a conversation as templates want it, now and then the roles in any order."""
    if draw(st.integers(0, 4)) == 4:
        return draw(st.lists(st.sampled_from(_ROLES), min_size=1, max_size=MAX_TURNS))
    answered = draw(st.integers(0, 1))
    turns: list[Role] = ["user", "assistant", "user"] if answered else ["user"]
    return ["system", *turns] if draw(st.integers(0, 3)) == 3 else turns


@cache
def _draw_contents(ground: SearchSpace, kinds: MediaKinds | None) -> st.SearchStrategy[Content]:
    """A text, or parts; with media of these kinds, or without."""
    text = draw_texts(ground.special)
    medium = _draw_media(ground, kinds) if kinds is not None else None
    words = text.map(lambda words: TextPart(text=words))
    parts: st.SearchStrategy[ContentPart] = words if medium is None else st.one_of(words, medium)
    several = st.lists(parts, max_size=MAX_PARTS).map(tuple)
    return st.one_of(text, several) if medium is None else st.one_of(text, several, several, several)


def _limit_media(parts: tuple[ContentPart, ...], media: int) -> tuple[ContentPart, ...]:
    """The parts without the media beyond a number of them."""
    kept: list[ContentPart] = []
    for part in parts:
        if isinstance(part, TextPart) or media:
            kept.append(part)
            media -= not isinstance(part, TextPart)
    return tuple(kept)


@st.composite
def _draw_kinds(draw: st.DrawFn, ground: SearchSpace) -> MediaKinds:
    if "video" not in ground.modalities:
        return MediaKinds(ground.rates[0], False, False)
    encoded = draw(st.integers(0, 7)) == 7
    heard = "audio" in ground.modalities and not encoded and draw(st.integers(0, 3)) == 3
    return MediaKinds(draw(st.sampled_from(ground.rates)), encoded, heard)


@cache
def _draw_media(ground: SearchSpace, kinds: MediaKinds) -> st.SearchStrategy[MediaPart]:
    found: list[st.SearchStrategy[MediaPart]] = [
        draw_images(ground).map(lambda recipe: ImagePart(image=recipe))
    ]
    if "video" in ground.modalities:
        drawn = draw_videos(ground, kinds.fps, kinds.encoded, kinds.heard)
        found.append(drawn.map(lambda recipe: VideoPart(video=recipe)))
    if "audio" in ground.modalities:
        found.append(draw_audio_recipes().map(lambda recipe: AudioPart(audio=recipe)))
    return st.one_of(found)


@cache
def _draw_processor_kwargs(ground: SearchSpace) -> st.SearchStrategy[ProcessorKwargs | None]:
    known = [each for each in _ARGUMENTS if set(each.as_kwargs) <= set(ground.tunable)]
    return st.sampled_from([*[None] * (_ONE_IN - 1) * len(known), None, *known])
