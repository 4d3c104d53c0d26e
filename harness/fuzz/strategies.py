"""Conversations as plain cases: Hypothesis strategies, no engine.

What is drawn first is what Hypothesis shrinks to: one turn of the user, no text, no medium.
"""

from __future__ import annotations

from hypothesis import strategies as st

from harness.case import (
    AudioPart,
    Case,
    Content,
    ImagePart,
    MediaPart,
    Message,
    Part,
    ProcessorArguments,
    Role,
    TextPart,
    VideoPart,
)
from harness.fuzz.ground import Ground
from harness.fuzz.media import RATES, images, sounds, videos
from harness.fuzz.texts import texts

DRAWN = "fuzz"
"""The name of a case that is drawn and not kept."""
MOST_TURNS, MOST_PARTS, MOST_MEDIA = 4, 4, 4
_PIXELS = (1, 100, 784, 3136, 10_000, 50_000, 200_000)
_ARGUMENTS = {
    "min_pixels": st.sampled_from(_PIXELS),
    "max_pixels": st.sampled_from(_PIXELS[2:]),
    "num_frames": st.integers(1, 8),
    "fps": st.sampled_from(RATES),
}


@st.composite
def cases(draw: st.DrawFn, ground: Ground) -> Case:
    """A conversation for a model, at the depth ``tokens``."""
    medium = _media(draw, ground)
    text = texts(ground.special)
    roles = draw(_roles())
    left = MOST_MEDIA
    messages = []
    for role in roles:
        content = draw(_contents(text, medium if role == "user" and left else None))
        if not isinstance(content, str):
            content = _at_most(content, left)
            left -= sum(not isinstance(part, TextPart) for part in content)
        messages.append(Message(role=role, content=content))
    return Case(
        name=DRAWN,
        summary="Drawn by the fuzzer.",
        messages=tuple(messages),
        depth="tokens",
        processor=draw(_processor(ground)),
    )


@st.composite
def _roles(draw: st.DrawFn) -> list[Role]:
    """Mostly a conversation as templates want it, now and then the roles in any order."""
    if draw(st.integers(0, 4)) == 4:  # noqa: PLR2004
        kinds = st.sampled_from(("user", "assistant", "system"))
        return draw(st.lists(kinds, min_size=1, max_size=MOST_TURNS))
    answered = draw(st.integers(0, 1))
    turns: list[Role] = ["user", *(["assistant", "user"] * answered)]
    return ["system", *turns] if draw(st.integers(0, 3)) == 3 else turns  # noqa: PLR2004


def _contents(
    text: st.SearchStrategy[str], medium: st.SearchStrategy[MediaPart] | None
) -> st.SearchStrategy[Content]:
    words = text.map(lambda words: TextPart(text=words))
    parts: st.SearchStrategy[Part] = words if medium is None else st.one_of(words, medium)
    several = st.lists(parts, max_size=MOST_PARTS).map(tuple)
    return st.one_of(text, several) if medium is None else st.one_of(text, several, several, several)


def _at_most(parts: tuple[Part, ...], media: int) -> tuple[Part, ...]:
    """The parts without the media beyond a number of them."""
    kept: list[Part] = []
    for part in parts:
        if isinstance(part, TextPart) or media:
            kept.append(part)
            media -= not isinstance(part, TextPart)
    return tuple(kept)


def _media(draw: st.DrawFn, ground: Ground) -> st.SearchStrategy[MediaPart]:
    """The media of one case: of its videos, what is the same for all is drawn here."""
    kinds: list[st.SearchStrategy[MediaPart]] = [
        images(ground).map(lambda recipe: ImagePart(image=recipe)),
    ]
    if "video" in ground.modalities:
        encoded = draw(st.integers(0, 7)) == 7  # noqa: PLR2004
        heard = "audio" in ground.modalities and draw(st.integers(0, 3)) == 3  # noqa: PLR2004
        drawn = videos(ground, draw(st.sampled_from(RATES)), encoded, heard and not encoded)
        kinds.append(drawn.map(lambda recipe: VideoPart(video=recipe)))
    if "audio" in ground.modalities:
        kinds.append(sounds().map(lambda recipe: AudioPart(audio=recipe)))
    return st.one_of(kinds)


@st.composite
def _processor(draw: st.DrawFn, ground: Ground) -> ProcessorArguments | None:
    if not ground.tunable or draw(st.integers(0, 4)) < 4:  # noqa: PLR2004
        return None
    names = draw(st.sets(st.sampled_from(sorted(ground.tunable)), min_size=1, max_size=2))
    return ProcessorArguments(**{name: draw(_ARGUMENTS[name]) for name in sorted(names)})
