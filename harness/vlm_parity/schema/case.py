"""A case: one conversation with its media and decoding budget, as plain data.

``vlm_parity.schema.case_file`` reads one from YAML.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from vlm_parity.schema.media_limits import MAX_FILE_BYTES, MAX_FRAMES, MAX_IMAGE_PIXELS, check_bytes
from vlm_parity.schema.media_source import (
    AudioRecipe,
    AudioSource,
    FrameRate,
    ImageSource,
    MaxSizeMedium,
    MediaFile,
    MediaRecipe,
    Source,
    VideoRecipe,
    VideoSource,
)
from vlm_parity.schema.record import Record, compute_digest
from vlm_parity.util.errors import CaseError, MediaError, UnreadableFileError
from vlm_parity.util.regular_file import read_regular_file

CASE_NAME = r"^[a-z0-9][a-z0-9_]*$"
DERIVED_FIELDS = ("name", "folder", "media_roots")
"""Fields of a case that its file does not have."""
TEMPLATE_ARGUMENTS = (
    "tools",
    "documents",
    "chat_template",
    "chat_template_kwargs",
    "add_generation_prompt",
    "continue_final_message",
)
"""Fields of a case that are arguments of ``apply_chat_template`` in transformers."""
_OPTIONAL = ("processor_kwargs", *TEMPLATE_ARGUMENTS)
"""Fields that a digest has only if they are used, so that it is the same as before they existed."""
Modality = Literal["image", "video", "audio"]
Role = Literal["system", "developer", "user", "assistant", "tool"]


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


def _check_part(value: Any) -> Any:
    if not isinstance(value, dict | Record):
        raise ValueError("must be a mapping with one of: text, image, video, audio; a text is {text: ...}")
    return value


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
    BeforeValidator(_check_part),
]


def _check_content(value: Any) -> Any:
    if not isinstance(value, str | list | tuple):
        raise ValueError("must be text, or a list of parts")
    return value


def _content_kind(value: Any) -> str:
    return "<string>" if isinstance(value, str) else "<parts>"


Content = Annotated[
    Annotated[str, Tag("<string>")] | Annotated[tuple[ContentPart, ...], Tag("<parts>")],
    Discriminator(_content_kind),
    BeforeValidator(_check_content),
]
JsonObject = dict[str, JsonValue]


class WrittenRecord(Record):
    """A record that is passed on as it was written: a field that is null is not one that is absent."""

    @model_serializer(mode="wrap")
    def _keep_written(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data = serialize(self)  # may lack values that equal the default
        written = (name for name in type(self).model_fields if name in self.model_fields_set)
        return {name: data.get(name, getattr(self, name)) for name in written}


class FunctionCall(WrittenRecord):
    """The function of a tool call with its arguments."""

    name: Annotated[str, Field(examples=["get_weather"])]
    arguments: Annotated[JsonObject | str, Field(examples=[{"city": "Paris"}, '{"city": "Paris"}'])]
    """An object, as transformers' templates expect it, or JSON text, as OpenAI's API sends it."""


class ToolCall(WrittenRecord):
    """A call of a tool by the assistant."""

    id: Annotated[str | None, Field(examples=["call_1"])] = None
    type: Literal["function"] = "function"
    function: FunctionCall


class Message(WrittenRecord):
    """One turn of the conversation, passed to each side as it is written here."""

    role: Role
    content: Annotated[
        Content | None,
        Field(examples=["What is this?", [{"text": "What is this?"}, {"image": {"file": "photo.jpg"}}]]),
    ] = None
    """Text, a list of parts, or null; a turn without this key has no content at all."""
    reasoning: Annotated[str | None, Field(examples=["The sky is blue, so it is day."])] = None
    """The thoughts of an earlier turn of the assistant, by the name that vLLM returns them under."""
    reasoning_content: Annotated[str | None, Field(examples=["The sky is blue, so it is day."])] = None
    """The same by the name that templates of Qwen and DeepSeek read."""
    tool_calls: Annotated[tuple[ToolCall, ...] | None, Field(min_length=1)] = None
    """The tools that the assistant called in this turn."""
    tool_call_id: Annotated[str | None, Field(examples=["call_1"])] = None
    """The call that a turn of the role ``tool`` answers."""
    name: Annotated[str | None, Field(examples=["get_weather"])] = None
    """The name of the participant, or of the tool that answers."""

    @property
    def parts(self) -> tuple[ContentPart, ...]:
        """The content as parts: a string is one text, null is none."""
        if isinstance(self.content, str):
            return (TextPart(text=self.content),)
        return self.content or ()

    @property
    def envelope(self) -> dict[str, Any]:
        """All keys of the message that were written, but for its content, as JSON values."""
        return {name: value for name, value in self.model_dump(mode="json").items() if name != "content"}

    @property
    def has_content(self) -> bool:
        """True if the message has the key ``content``, be it null."""
        return "content" in self.model_fields_set


class ProcessorKwargs(WrittenRecord):
    """Keyword arguments for the model's processor (``mm_processor_kwargs`` in an engine).

    One that is null is passed as None, which for a processor is not the same as its default.
    ``Family.supported_kwargs`` lists those that the processor of a family supports.
    """

    min_pixels: Annotated[int | None, Field(strict=True, ge=1, le=MAX_IMAGE_PIXELS)] = None
    max_pixels: Annotated[int | None, Field(strict=True, ge=1, le=MAX_IMAGE_PIXELS)] = None
    num_frames: Annotated[int | None, Field(strict=True, ge=1, le=MAX_FRAMES)] = None
    fps: FrameRate | None = None

    @property
    def as_kwargs(self) -> dict[str, int | float | None]:
        """The arguments that were written."""
        return {name: value for name, value in self if name in self.model_fields_set}


class Case(Record):
    """One conversation with its media and decoding budget."""

    name: Annotated[str, Field(pattern=CASE_NAME)]
    summary: str
    messages: Annotated[tuple[Message, ...], Field(min_length=1)]
    max_new_tokens: Annotated[int, Field(strict=True, ge=1, le=1024)] = 8
    depth: Literal["tokens", "logits"] = "logits"
    """The maximum depth: ``tokens`` if the case tests preprocessing only, such as a file format, so no engine
    has to generate."""
    processor_kwargs: ProcessorKwargs | None = None
    """Keyword arguments for the processor; None for the model's own settings."""
    tools: Annotated[
        tuple[JsonObject, ...] | None,
        Field(
            min_length=1,
            examples=[[{"type": "function", "function": {"name": "get_weather", "parameters": {}}}]],
        ),
    ] = None
    """The tools that the model may call, as JSON schemas."""
    documents: Annotated[
        tuple[JsonObject, ...] | None,
        Field(min_length=1, examples=[[{"title": "Weather", "text": "It rains."}]]),
    ] = None
    """Documents for templates that retrieve from them."""
    chat_template: Annotated[
        str | None, Field(examples=["{% for message in messages %}{{ message.content }}{% endfor %}"])
    ] = None
    """A chat template in Jinja that this request brings with it; None for the model's own."""
    chat_template_kwargs: Annotated[JsonObject | None, Field(examples=[{"enable_thinking": False}])] = None
    """Further variables of the chat template."""
    add_generation_prompt: bool = True
    """False: the prompt does not end with the header of the assistant's turn."""
    continue_final_message: bool = False
    """True: the model continues the last turn; ``add_generation_prompt`` has to be false."""
    folder: Annotated[Path | None, Field(exclude=True)] = None
    """The folder of the case file; media files are relative to it, and lie in it."""
    media_roots: Annotated[tuple[Path, ...], Field(exclude=True)] = ()
    """Further folders that media files may lie in. The report shows the media of a case, so a case from
    elsewhere must not name any file of the machine."""

    @model_validator(mode="after")
    def _check_audio_tracks(self) -> Case:
        with_audio = {part.has_audio_track for _, part in self.media if isinstance(part, VideoPart)}
        if len(with_audio) > 1:
            raise ValueError(
                "use_audio_in_video applies to all videos of a case: all have an audio track, or none"
            )
        return self

    @model_validator(mode="after")
    def _check_template_arguments(self) -> Case:
        if self.continue_final_message and self.add_generation_prompt:
            raise ValueError("continue_final_message needs add_generation_prompt: false")
        if self.continue_final_message and self.messages[-1].role != "assistant":
            raise ValueError("continue_final_message: the last turn must be the assistant's")
        return self

    @property
    def is_extended(self) -> bool:
        """True if the conversation is more than texts and media in turns of three roles."""
        return bool(self.template_arguments) or any(
            message.role in {"developer", "tool"}
            or message.content is None
            or message.model_fields_set > {"role", "content"}
            for message in self.messages
        )

    @property
    def template_arguments(self) -> dict[str, Any]:
        """The arguments of the chat template that the case sets, as JSON values."""
        used = {name for name in TEMPLATE_ARGUMENTS if not self._is_default(name)}
        return self.model_dump(mode="json", include=used)

    def _is_default(self, name: str) -> bool:
        return bool(getattr(self, name) == Case.model_fields[name].default)

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

    @model_validator(mode="after")
    def _check_media_size(self) -> Case:
        recipes = [part.source for _, part in self.media if isinstance(part.source, MediaRecipe)]
        check_bytes(sum(recipe.decoded_bytes for recipe in recipes), f"{len(recipes)} media")
        return self

    def resolve(self, source: MediaFile) -> Path:
        """Return the path of a media file of the case, without symbolic links.

        Raises:
            CaseError: the file lies neither in the folder of the case nor in one of its media roots.
        """
        folder = self.folder or Path()
        try:
            path, *roots = map(os.path.realpath, (folder / source.file, folder, *self.media_roots))
        except ValueError as error:
            raise CaseError(f"{source.file!r} is not the name of a file: {error}") from error
        if not any(Path(path).is_relative_to(root) for root in roots):
            raise CaseError(
                f"{path} lies outside of the case's folder; --media-root DIR permits the files of another "
                "folder"
            )
        return Path(path)

    def read_file(self, source: MediaFile) -> bytes:
        """Read a media file of the case.

        Raises:
            CaseError: the file lies outside of the folders for media.
            UnreadableFileError: the file is missing, is not a regular file, or is too large.
        """
        return read_regular_file(self.resolve(source), MAX_FILE_BYTES)

    def digest(self) -> str:
        """Compute a digest of the case: of its data and of the content of its files.

        Raises:
            CaseError, MediaError: a media file cannot be read.
        """
        files = []
        for source in (part.source for _, part in self.media):
            if isinstance(source, MediaFile):
                try:
                    files.append(hashlib.sha256(self.read_file(source)).hexdigest())
                except UnreadableFileError as error:
                    raise MediaError(f"case {self.name}, {source.file}: {error}") from error
        unused = {name for name in _OPTIONAL if self._is_default(name)}
        data = self.model_dump(mode="json", exclude=unused)
        kwargs = data.get("processor_kwargs", {})
        if None in kwargs.values():
            data["processor_kwargs"] = {"written": kwargs}
        elif kwargs:  # as before there was a null to write
            data["processor_kwargs"] = dict.fromkeys(ProcessorKwargs.model_fields) | kwargs
        return compute_digest([data, files])


def build_case_schema() -> dict[str, Any]:
    """Build the JSON schema of a case file, without the fields derived from the path of the file."""
    schema = Case.model_json_schema()
    for derived in DERIVED_FIELDS:
        del schema["properties"][derived]
    schema["required"].remove("name")
    return schema
