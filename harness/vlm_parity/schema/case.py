"""A case: one conversation with its media and decoding budget, as plain data.

``vlm_parity.schema.case_file`` reads one from YAML.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from vlm_parity.schema.media_source import (
    AudioRecipe,
    AudioSource,
    ImageSource,
    MaxSizeMedium,
    MediaFile,
    Source,
    VideoRecipe,
    VideoSource,
)
from vlm_parity.schema.record import Record, compute_digest

Modality = Literal["image", "video", "audio"]
Role = Literal["system", "user", "assistant"]


class TextPart(Record):
    text: str


class ImagePart(Record):
    modality: ClassVar[Modality] = "image"
    image: ImageSource

    @property
    def source(self) -> Source:
        return self.image


class VideoPart(Record):
    modality: ClassVar[Modality] = "video"
    video: VideoSource

    @property
    def has_audio_track(self) -> bool:
        """Whether its sound is given to the model, too."""
        return isinstance(self.video, VideoRecipe) and self.video.audio_track is not None

    @property
    def source(self) -> Source:
        return self.video


class AudioPart(Record):
    modality: ClassVar[Modality] = "audio"
    audio: AudioSource

    @model_validator(mode="after")
    def _is_decoded(self) -> AudioPart:
        if not isinstance(self.audio, AudioRecipe) and self.audio.encoded:
            raise ValueError("a sound is always decoded by the harness")
        return self

    @property
    def source(self) -> Source:
        return self.audio


MediaPart = ImagePart | VideoPart | AudioPart


def _part_kind(value: Any) -> str | None:
    keys = value if isinstance(value, dict) else vars(value)
    return next((f"<{kind}>" for kind in ("text", "image", "video", "audio") if kind in keys), None)


ContentPart = Annotated[
    Annotated[TextPart, Tag("<text>")]
    | Annotated[ImagePart, Tag("<image>")]
    | Annotated[VideoPart, Tag("<video>")]
    | Annotated[AudioPart, Tag("<audio>")],
    Discriminator(
        _part_kind,
        custom_error_type="part_kind",
        custom_error_message="a part needs one of: text, image, video, audio",
    ),
]


def _content_kind(value: Any) -> str:
    return "<string>" if isinstance(value, str) else "<parts>"


Content = Annotated[
    Annotated[str, Tag("<string>")] | Annotated[tuple[ContentPart, ...], Tag("<parts>")],
    Discriminator(_content_kind),
]


class Message(Record):
    """One turn. A string as content is one part of text."""

    role: Role
    content: Content

    @property
    def parts(self) -> tuple[ContentPart, ...]:
        return (TextPart(text=self.content),) if isinstance(self.content, str) else self.content

    @model_validator(mode="after")
    def _check_media_roles(self) -> Message:
        if self.role != "user" and any(not isinstance(part, TextPart) for part in self.parts):
            raise ValueError(f"only a user turn holds media, not one of the {self.role}")
        return self


class ProcessorKwargs(Record):
    """What a user tells the processor of the model beside the media: more arguments in transformers,
    ``mm_processor_kwargs`` in an engine. Which of them a family's processor knows stands in
    ``Family.tunable``.
    """

    min_pixels: Annotated[int | None, Field(ge=1)] = None
    max_pixels: Annotated[int | None, Field(ge=1)] = None
    num_frames: Annotated[int | None, Field(ge=1)] = None
    fps: Annotated[float | None, Field(gt=0)] = None

    @property
    def as_kwargs(self) -> dict[str, int | float]:
        """Those that are given."""
        return {name: value for name, value in self if value is not None}


class Case(Record):
    """One conversation with its media and decoding budget."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
    summary: str
    messages: Annotated[tuple[Message, ...], Field(min_length=1)]
    max_new_tokens: Annotated[int, Field(ge=1, le=1024)] = 8
    depth: Literal["tokens", "logits"] = "logits"
    """How deep it is asked at most: ``tokens`` where it is about what the model is fed, the format of a file
    say; engines need not answer it then."""
    processor_kwargs: ProcessorKwargs | None = None
    """What its processor is told; None for the model's own settings."""
    folder: Annotated[Path | None, Field(exclude=True)] = None
    """Where the case was read from; media files are found relative to it."""

    @model_validator(mode="after")
    def _check_audio_tracks(self) -> Case:
        heard = {part.has_audio_track for _, part in self.media if isinstance(part, VideoPart)}
        if len(heard) > 1:
            raise ValueError("a model is told once to hear its videos: all of a case have a sound, or none")
        return self

    @property
    def media(self) -> Iterator[tuple[Modality, MediaPart]]:
        """The media in the order of the conversation."""
        for message in self.messages:
            for part in message.parts:
                if not isinstance(part, TextPart):
                    yield part.modality, part

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Each modality that the case holds, once, in the order of first use; the sound of a video counts."""
        found: dict[Modality, None] = {}
        for modality, part in self.media:
            found[modality] = None
            if isinstance(part, VideoPart) and part.has_audio_track:
                found["audio"] = None
        return tuple(found)

    @model_validator(mode="after")
    def _check_video_encodings(self) -> Case:
        videos = [part.video for _, part in self.media if isinstance(part, VideoPart)]
        if len({bool(video.encoded) for video in videos}) > 1:
            raise ValueError("engines take options for all videos of a case: encode all of them, or none")
        return self

    @property
    def max_size_modality(self) -> Modality | None:
        """The modality whose largest medium the case holds, as long as it is not known; None for a case that
        can be asked as it is.
        """
        found = (modality for modality, part in self.media if isinstance(part.source, MaxSizeMedium))
        return next(found, None)

    @model_validator(mode="after")
    def _check_max_size_medium(self) -> Case:
        if self.max_size_modality and (len(tuple(self.media)) > 1 or self.depth != "tokens"):
            raise ValueError("a largest medium is the only one of its case, whose depth is tokens")
        return self

    def resolve(self, source: MediaFile) -> Path:
        """The path of a medium that lies beside the case."""
        return (self.folder or Path()) / source.file

    def digest(self) -> str:
        """Identifies what the case asks: its data and the content of its files."""
        sources = [part.source for _, part in self.media]
        files = [
            hashlib.sha256(self.resolve(source).read_bytes()).hexdigest()
            for source in sources
            if isinstance(source, MediaFile)
        ]
        unused = {"processor_kwargs"} if self.processor_kwargs is None else set()
        return compute_digest([self.model_dump(mode="json", exclude=unused), files])


def build_case_schema() -> dict[str, Any]:
    """The JSON schema of a case file, for editors: without what is taken from the file itself."""
    schema = Case.model_json_schema()
    for taken in ("name", "folder"):
        del schema["properties"][taken]
    schema["required"].remove("name")
    return schema
