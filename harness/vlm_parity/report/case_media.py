"""Thumbnails, descriptions of media, and log tails of a shard, for case pages. Its files may be missing."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

from vlm_parity.report.entries import ShardEntry
from vlm_parity.report.run_files import find_file
from vlm_parity.schema.case import Case, MediaPart
from vlm_parity.schema.engine_setup import EntryPoint, engine_label
from vlm_parity.schema.max_media import describe_medium
from vlm_parity.schema.media_encoding import ImageEncoding, VideoEncoding
from vlm_parity.schema.media_source import (
    AudioRecipe,
    DataUrl,
    ImageRecipe,
    MaxSizeMedium,
    MediaFile,
    VideoRecipe,
)
from vlm_parity.schema.trace import EncoderBudget
from vlm_parity.schema.verdict import Verdict

_PNG = b"\x89PNG\r\n\x1a\n"
_MAX_THUMBNAIL_BYTES = 512 * 1024
_TAIL_LINES = 40
_TAIL_BYTES = 16 * 1024
_DECODED_BY_EACH = ", decoded by each side"
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def find_thumbnail(shard: ShardEntry, case: Case, number: int) -> str | None:
    """Return the thumbnail of a medium as a data URI; None if it is missing or too large for a page."""
    path = find_file(shard.folder, "media", case.name, f"{number}.png")
    if path is None:
        return None
    content = path.read_bytes() if path.stat().st_size <= _MAX_THUMBNAIL_BYTES else b""
    if not content.startswith(_PNG):
        return None
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def find_thumbnail_problem(shard: ShardEntry, case: Case, number: int) -> str:
    """Return the reason why a medium has no thumbnail; empty if none is known."""
    path = find_file(shard.folder, "media", case.name, f"{number}.txt")
    return _read_tail(path) if path is not None else ""


def format_recipe(part: MediaPart, encoder_budget: EncoderBudget | None = None) -> str:
    """Describe the source of a medium.

    Args:
        part: a medium of a message.
        encoder_budget: the engine's; describes its largest medium.
    """
    source = part.source
    if isinstance(source, MaxSizeMedium):
        label = f"the largest {part.modality} of the encoder budget"
        return f"{label}: {describe_medium(encoder_budget.medium)}" if encoder_budget is not None else label
    if isinstance(source, MediaFile):
        return f"file {source.file}{_DECODED_BY_EACH if source.encoded else ''}"
    if isinstance(source, DataUrl):
        return f"data URL, {len(source.url)} characters{_DECODED_BY_EACH if source.encoded else ''}"
    return _format_source(source)


def read_output_tails(shard: ShardEntry, verdict: Verdict) -> Iterator[tuple[str, str]]:
    """Yield the path in the run and the last lines of the log of the engine under test, if it exists."""
    entry_point = verdict.entry_point if verdict.entry_point.loads_own_engine else EntryPoint.CHAT
    engine = engine_label(verdict.backend, verdict.mode, entry_point)
    path = find_file(shard.folder, "logs", f"{verdict.model}-{engine}.log")
    if path is not None:
        yield f"shards/{shard.name}/logs/{path.name}", _read_tail(path)


def _format_source(source: ImageRecipe | VideoRecipe | AudioRecipe) -> str:
    if isinstance(source, AudioRecipe):
        return f"{source.waveform}, {source.seconds:g} s at {source.rate} Hz, seed {source.seed}"
    width, height = source.size
    words = [source.pattern, f"{width} × {height}"]
    if isinstance(source, VideoRecipe):
        words.append(f"{source.frames} frames at {source.fps:g} a second")
    if source.text:
        words.append(f"text “{source.text}”")
    words.append(f"seed {source.seed}")
    if source.encoded is not None:
        words.append(_format_encoding(source.encoded) + _DECODED_BY_EACH)
    if isinstance(source, VideoRecipe) and source.audio_track is not None:
        words.append(f"audio track: {_format_source(source.audio_track)}")
    return ", ".join(words)


def _format_encoding(encoding: ImageEncoding | VideoEncoding) -> str:
    """Describe the file that a recipe is encoded into."""
    if isinstance(encoding, VideoEncoding):
        return f"MP4 file, {encoding.codec}{', variable rate' if encoding.timestamps else ''}"
    orientation = f", EXIF orientation {encoding.orientation}" if encoding.orientation != 1 else ""
    return f"{encoding.format.upper()} file, {encoding.mode}{orientation}"


def _read_tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"unreadable: {error.strerror}"
    return "\n".join(_ANSI.sub("", text).splitlines()[-_TAIL_LINES:])
