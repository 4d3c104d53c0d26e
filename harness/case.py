"""A case: one conversation with its media and decoding budget, as plain data.

Cases are YAML files (``cases/conversations/*.yaml``); ``load_case`` reads one and says file, line
and field when it does not fit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from harness.encodings import ImageEncoding, VideoEncoding
from harness.record import Record, digest

Modality = Literal["image", "video", "audio"]
Role = Literal["system", "user", "assistant"]
Pattern = Literal["gradient", "checkerboard", "text"]
Sound = Literal["tone", "sweep", "noise"]
Pixels = Annotated[int, Field(ge=1, le=16384)]


class ImageRecipe(Record):
    """A picture made from numbers alone; see ``harness.media.patterns`` for the patterns."""

    pattern: Pattern
    size: tuple[Pixels, Pixels]
    """Width and height in pixels."""
    seed: int = 0
    text: str = ""
    """What the pattern ``text`` writes."""
    encoded: ImageEncoding | None = None
    """The file that the sides are handed and open by themselves; without it they are handed the pixels."""


class AudioRecipe(Record):
    """A sound made from numbers alone; see ``harness.media.sounds`` for the kinds."""

    sound: Sound
    seconds: Annotated[float, Field(gt=0, le=600)]
    rate: Annotated[int, Field(ge=8000, le=48000)] = 16000
    """Samples a second."""
    seed: int = 0


class VideoRecipe(Record):
    """A moving picture made from numbers alone."""

    pattern: Pattern
    size: tuple[Pixels, Pixels]
    """Width and height in pixels."""
    frames: Annotated[int, Field(ge=1, le=4096)]
    fps: Annotated[float, Field(gt=0)] = 2.0
    seed: int = 0
    text: str = ""
    encoded: VideoEncoding | None = None
    """The file that the sides are handed, open and sample by themselves; without it they are handed all
    frames."""
    sound: AudioRecipe | None = None
    """What is heard with it; the model is told to listen (``use_audio_in_video``)."""

    @model_validator(mode="after")
    def _can_be_encoded(self) -> VideoRecipe:
        if self.encoded is None:
            return self
        if self.sound is not None:
            raise ValueError("a video with a sound is not encoded: no side is told to listen to a file")
        if any(side % 2 for side in self.size):
            raise ValueError("an encoded video has even sides: its colours are kept for 2 x 2 pixels")
        timestamps = self.encoded.timestamps
        if timestamps is not None and len(timestamps) != self.frames:
            raise ValueError(f"{len(timestamps)} timestamps for {self.frames} frames")
        return self


class MediaFile(Record):
    """A file, relative to the folder of the case."""

    file: str
    encoded: bool = False
    """Whether the sides are handed the file as it is; otherwise the harness decodes it for them."""


class DataUrl(Record):
    """The medium itself, as ``data:<type>;base64,...``."""

    url: Annotated[str, Field(pattern=r"^data:[\w.+-]+/[\w.+-]+;base64,")]
    encoded: bool = False
    """As in ``MediaFile``."""


def _source_kind(value: Any) -> str:
    keys = value if isinstance(value, dict) else vars(value)
    return next((f"<{kind}>" for kind in ("file", "url") if kind in keys), "<pattern>")


def _audio_kind(value: Any) -> str:
    return _source_kind(value).replace("<pattern>", "<sound>")


ImageSource = Annotated[
    Annotated[ImageRecipe, Tag("<pattern>")]
    | Annotated[MediaFile, Tag("<file>")]
    | Annotated[DataUrl, Tag("<url>")],
    Discriminator(_source_kind),
]
VideoSource = Annotated[
    Annotated[VideoRecipe, Tag("<pattern>")]
    | Annotated[MediaFile, Tag("<file>")]
    | Annotated[DataUrl, Tag("<url>")],
    Discriminator(_source_kind),
]


AudioSource = Annotated[
    Annotated[AudioRecipe, Tag("<sound>")]
    | Annotated[MediaFile, Tag("<file>")]
    | Annotated[DataUrl, Tag("<url>")],
    Discriminator(_audio_kind),
]


class TextPart(Record):
    text: str


class ImagePart(Record):
    modality: ClassVar[Modality] = "image"
    image: ImageSource

    @property
    def source(self) -> ImageRecipe | MediaFile | DataUrl:
        return self.image


class VideoPart(Record):
    modality: ClassVar[Modality] = "video"
    video: VideoSource

    @property
    def is_heard(self) -> bool:
        """Whether its sound is given to the model, too."""
        return isinstance(self.video, VideoRecipe) and self.video.sound is not None

    @property
    def source(self) -> VideoRecipe | MediaFile | DataUrl:
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
    def source(self) -> AudioRecipe | MediaFile | DataUrl:
        return self.audio


MediaPart = ImagePart | VideoPart | AudioPart


def _part_kind(value: Any) -> str | None:
    keys = value if isinstance(value, dict) else vars(value)
    return next((f"<{kind}>" for kind in ("text", "image", "video", "audio") if kind in keys), None)


Part = Annotated[
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
    Annotated[str, Tag("<string>")] | Annotated[tuple[Part, ...], Tag("<parts>")],
    Discriminator(_content_kind),
]


class Message(Record):
    """One turn. A string as content is one part of text."""

    role: Role
    content: Content

    @property
    def parts(self) -> tuple[Part, ...]:
        return (TextPart(text=self.content),) if isinstance(self.content, str) else self.content

    @model_validator(mode="after")
    def _media_come_from_the_user(self) -> Message:
        if self.role != "user" and any(not isinstance(part, TextPart) for part in self.parts):
            raise ValueError(f"only a user turn holds media, not one of the {self.role}")
        return self


class Case(Record):
    """One conversation with its media and decoding budget."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
    summary: str
    messages: Annotated[tuple[Message, ...], Field(min_length=1)]
    max_new_tokens: Annotated[int, Field(ge=1, le=1024)] = 8
    folder: Annotated[Path | None, Field(exclude=True)] = None
    """Where the case was read from; media files are found relative to it."""

    @model_validator(mode="after")
    def _all_videos_are_heard_or_none(self) -> Case:
        heard = {part.is_heard for _, part in self.media if isinstance(part, VideoPart)}
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
            if isinstance(part, VideoPart) and part.is_heard:
                found["audio"] = None
        return tuple(found)

    @model_validator(mode="after")
    def _videos_are_handed_over_alike(self) -> Case:
        sources = [part.source for _, part in self.media if isinstance(part, VideoPart)]
        if len({bool(source.encoded) for source in sources}) > 1:
            raise ValueError("engines take options for all videos of a case: encode all of them, or none")
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
        return digest([self.model_dump(mode="json"), files])


def case_schema() -> dict[str, Any]:
    """The JSON schema of a case file, for editors: without what is taken from the file itself."""
    schema = Case.model_json_schema()
    for taken in ("name", "folder"):
        del schema["properties"][taken]
    schema["required"].remove("name")
    return schema


class BadCase(Exception):
    """A case file does not fit the schema; the message names file, line and field."""


def load_cases(folder: Path) -> dict[str, Case]:
    """All cases of a folder by name, in the order of their file names.

    Raises:
        BadCase: a file does not fit, or the folder holds none.
    """
    cases = {path.stem: load_case(path) for path in sorted(folder.glob("*.yaml"))}
    if not cases:
        raise BadCase(f"{folder}: holds no case (*.yaml)")
    return cases


def load_case(path: Path) -> Case:
    """Reads one case file; the case is named after the file.

    Raises:
        BadCase: the file is not YAML or does not fit the schema.
    """
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise BadCase(f"{path}: {problem}") from problem
    if not isinstance(data, dict):
        raise BadCase(f"{path}:1: a case is a mapping with summary and messages")
    try:
        return Case.model_validate({**data, "name": path.stem, "folder": path.parent})
    except ValidationError as problem:
        # Where an item is wrong, pydantic also calls its list too short.
        errors = problem.errors(include_url=False)
        places = [error["loc"] for error in errors]
        lines = [_located(path, root, error) for error in errors if not _leads_to(error["loc"], places)]
        raise BadCase("\n".join(lines)) from problem


def _located(path: Path, root: yaml.Node | None, error: Any) -> str:
    """``file:line: field: what is wrong``, with the line of the deepest field that exists."""
    node, field = root, ""
    for step in error["loc"]:
        if _is_union_tag(step):
            continue
        field += f"[{step}]" if isinstance(step, int) else f".{step}"
        node = _child(node, step) or node
    line = node.start_mark.line + 1 if node is not None else 1
    return f"{path}:{line}: {field.lstrip('.')}: {error['msg']}"


def _leads_to(place: tuple[int | str, ...], places: list[tuple[int | str, ...]]) -> bool:
    return any(len(other) > len(place) and other[: len(place)] == place for other in places)


def _child(node: yaml.Node | None, step: int | str) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        return node.value[step] if step < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == step), None)
    return None


def _is_union_tag(step: int | str) -> bool:
    """Pydantic names the branch of a union in an error's path; the file has no such field."""
    return str(step).startswith("<")
