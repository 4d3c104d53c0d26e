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
    """A text in a message."""

    text: str


class ImagePart(Record):
    """An image in a message."""

    modality: ClassVar[Modality] = "image"
    image: ImageSource

    @property
    def source(self) -> Source:
        """The image."""
        return self.image


class VideoPart(Record):
    """A video in a message."""

    modality: ClassVar[Modality] = "video"
    video: VideoSource

    @property
    def has_audio_track(self) -> bool:
        """True if the model also receives the audio track of the video."""
        return isinstance(self.video, VideoRecipe) and self.video.audio_track is not None

    @property
    def source(self) -> Source:
        """The video."""
        return self.video


class AudioPart(Record):
    """An audio input in a message."""

    modality: ClassVar[Modality] = "audio"
    audio: AudioSource

    @model_validator(mode="after")
    def _is_decoded(self) -> AudioPart:
        if not isinstance(self.audio, AudioRecipe) and self.audio.encoded:
            raise ValueError("audio is always decoded by vlm-parity")
        return self

    @property
    def source(self) -> Source:
        """The audio."""
        return self.audio


MediaPart = ImagePart | VideoPart | AudioPart


def _part_kind(value: Any) -> str | None:
    keys = value if isinstance(value, dict) else vars(value)
    return next((f"<{key}>" for key in ("text", "image", "video", "audio") if key in keys), None)


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
    """One turn of the conversation. Content that is a string is one text part."""

    role: Role
    content: Content

    @property
    def parts(self) -> tuple[ContentPart, ...]:
        """The content as parts."""
        return (TextPart(text=self.content),) if isinstance(self.content, str) else self.content

    @model_validator(mode="after")
    def _check_media_roles(self) -> Message:
        if self.role != "user" and any(not isinstance(part, TextPart) for part in self.parts):
            raise ValueError(f"only a user turn can hold media, not a turn of the {self.role}")
        return self


class ProcessorKwargs(Record):
    """Keyword arguments for the model's processor (``mm_processor_kwargs`` in an engine).

    ``Family.supported_kwargs`` lists those that the processor of a family supports.
    """

    min_pixels: Annotated[int | None, Field(ge=1)] = None
    max_pixels: Annotated[int | None, Field(ge=1)] = None
    num_frames: Annotated[int | None, Field(ge=1)] = None
    fps: Annotated[float | None, Field(gt=0)] = None

    @property
    def as_kwargs(self) -> dict[str, int | float]:
        """The arguments that are set."""
        return {name: value for name, value in self if value is not None}


class Case(Record):
    """One conversation with its media and decoding budget."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
    summary: str
    messages: Annotated[tuple[Message, ...], Field(min_length=1)]
    max_new_tokens: Annotated[int, Field(ge=1, le=1024)] = 8
    depth: Literal["tokens", "logits"] = "logits"
    """The maximum depth: ``tokens`` if the case tests preprocessing only, such as a file format, so no engine
    has to generate."""
    processor_kwargs: ProcessorKwargs | None = None
    """Keyword arguments for the processor; None for the model's own settings."""
    folder: Annotated[Path | None, Field(exclude=True)] = None
    """The folder of the case file; media files are relative to it."""

    @model_validator(mode="after")
    def _check_audio_tracks(self) -> Case:
        with_audio = {part.has_audio_track for _, part in self.media if isinstance(part, VideoPart)}
        if len(with_audio) > 1:
            raise ValueError(
                "use_audio_in_video applies to all videos of a case: all have an audio track, or none"
            )
        return self

    @property
    def media(self) -> Iterator[tuple[Modality, MediaPart]]:
        """The media with their modalities, in the order of the conversation."""
        for message in self.messages:
            for part in message.parts:
                if not isinstance(part, TextPart):
                    yield part.modality, part

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities of the case in the order of first use, audio tracks of videos included."""
        modalities: dict[Modality, None] = {}
        for modality, part in self.media:
            modalities[modality] = None
            if isinstance(part, VideoPart) and part.has_audio_track:
                modalities["audio"] = None
        return tuple(modalities)

    @model_validator(mode="after")
    def _check_video_encodings(self) -> Case:
        videos = [part.video for _, part in self.media if isinstance(part, VideoPart)]
        if len({bool(video.encoded) for video in videos}) > 1:
            raise ValueError("engine options apply to all videos of a case: encode all of them, or none")
        return self

    @property
    def max_size_modality(self) -> Modality | None:
        """The modality of the ``max_size`` medium; None without one, or once an engine has specified it."""
        return next(
            (modality for modality, part in self.media if isinstance(part.source, MaxSizeMedium)), None
        )

    @model_validator(mode="after")
    def _check_max_size_medium(self) -> Case:
        if self.max_size_modality and (len(tuple(self.media)) > 1 or self.depth != "tokens"):
            raise ValueError("a max_size medium is the only one of its case, whose depth is tokens")
        return self

    def resolve(self, source: MediaFile) -> Path:
        """Return the path of a media file of the case."""
        return (self.folder or Path()) / source.file

    def digest(self) -> str:
        """Compute a digest of the case: of its data and of the content of its files."""
        sources = [part.source for _, part in self.media]
        files = [
            hashlib.sha256(self.resolve(source).read_bytes()).hexdigest()
            for source in sources
            if isinstance(source, MediaFile)
        ]
        unused = {"processor_kwargs"} if self.processor_kwargs is None else set()
        return compute_digest([self.model_dump(mode="json", exclude=unused), files])


def build_case_schema() -> dict[str, Any]:
    """Build the JSON schema of a case file, without the fields derived from the path of the file."""
    schema = Case.model_json_schema()
    for derived in ("name", "folder"):
        del schema["properties"][derived]
    schema["required"].remove("name")
    return schema
