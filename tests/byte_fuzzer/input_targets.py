"""Targets that users write or download: cases, media, lists in TOML, checkpoints; and cached folders."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import Any

from tests.byte_fuzzer.media_seeds import make_audios, make_images, make_videos
from tests.byte_fuzzer.structure import mutate_json, mutate_safetensors, mutate_yaml
from tests.byte_fuzzer.target import Target, is_sample
from tests.support.checkpoints import write_checkpoint
from tests.support.traces import TraceFiles, make_trace
from vlm_parity.backends.releases import read_releases
from vlm_parity.media.load import load_media
from vlm_parity.media.thumbnail import render_thumbnail
from vlm_parity.models.model_list import read_model_list
from vlm_parity.models.resolve import resolve_model
from vlm_parity.replay.catalog import load_replay
from vlm_parity.schema.case import Case
from vlm_parity.schema.case_file import load_case, write_case
from vlm_parity.schema.manifest import MANIFEST_FILE, check_manifest, write_manifest
from vlm_parity.schema.media_source import DataUrl, MaxSizeMedium, MediaFile
from vlm_parity.util.checkout import REPOSITORY_ROOT
from vlm_parity.verdicts.known_issues import apply_known_issues, match_counts, read_known_issues

CASES = REPOSITORY_ROOT / "cases"
RELEASES = REPOSITORY_ROOT / "harness" / "vlm_parity" / "backends" / "releases.toml"
_CASE_FILE = "conversations/one_image.yaml"
_MEDIUM = "medium"
_FEW_DECODED_BYTES, _MOST_DECODED_BYTES = 2**16, 2**23
"""Larger media are drawn for a sample of the cases, the largest ones never: they take seconds by design."""


def copy(source: Path, target: str) -> Callable[[Path], None]:
    """Return a function that copies a file into a folder."""

    def prepare(folder: Path) -> None:
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        (folder / target).write_bytes(source.read_bytes())

    return prepare


def read_case(folder: Path) -> None:
    """Load a case and its media, and write it again."""
    case = load_case(folder / _CASE_FILE)
    case.digest()
    write_case(folder / "copy.yaml", case, ["comment"])
    load_case(folder / "copy.yaml")
    limit = _MOST_DECODED_BYTES if is_sample((folder / _CASE_FILE).read_bytes()) else _FEW_DECODED_BYTES
    if sum(_get_size(part.source) for _, part in case.media) <= limit:
        for medium in load_media(case):
            render_thumbnail(medium)


def read_known(folder: Path) -> None:
    """Apply known issues to a match and a mismatch."""
    issues = read_known_issues(folder / "known_issues.toml")
    for verdict in _VERDICTS:
        apply_known_issues(verdict, issues, date(2027, 1, 1))
    match_counts(issues, _VERDICTS)


def read_medium(modality: str) -> Callable[[Path], None]:
    """Return a function that loads a medium decoded and as a file, and renders its thumbnail."""

    def read(folder: Path) -> None:
        for encoded in (True, False) if modality != "audio" else (False,):
            source = {"file": _MEDIUM, "encoded": encoded}
            messages = [{"role": "user", "content": [{modality: source}]}]
            case = Case.model_validate({"name": "m", "summary": "s", "messages": messages, "folder": folder})
            for medium in load_media(case):
                render_thumbnail(medium)

    return read


def read_checkpoint(folder: Path) -> None:
    """Resolve a checkpoint, with its weights and without."""
    resolve_model(str(folder / "model"), weights=False)
    resolve_model(str(folder / "model"))


def _prepare_medium(seeds: Callable[[], Iterable[bytes]]) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        (folder / _MEDIUM).write_bytes(next(iter(seeds())))

    return prepare


def _prepare_checkpoint(folder: Path) -> None:
    checkpoint = write_checkpoint(folder / "model", model_type="qwen2_vl", vision_config={"depth": 2})
    index = {"metadata": {"total_size": 8}, "weight_map": {"weight": "model.safetensors"}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))


def _prepare_manifest(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    write_manifest(folder)


def _make_verdicts() -> tuple[Any, ...]:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        files = TraceFiles(Path(folder))
        match = files.decide_verdict()
        files.write(files.tested, make_trace(prompt="other"))
        return match, files.decide_verdict()


def _get_size(source: Any) -> int:
    return 0 if isinstance(source, DataUrl | MediaFile | MaxSizeMedium) else source.decoded_bytes


def _read_files(pattern: str) -> Callable[[], Iterable[bytes]]:
    return lambda: (path.read_bytes() for path in sorted(CASES.glob(pattern)))


_VERDICTS = _make_verdicts()
_CONFIG = "model/config.json"
TARGETS = (
    Target(
        "case",
        _CASE_FILE,
        copy(CASES / _CASE_FILE, _CASE_FILE),
        read_case,
        _read_files("conversations/*.yaml"),
        mutate_yaml,
    ),
    Target(
        "replay",
        "replay.yaml",
        copy(CASES / "replays" / "vllm_bos_twice.yaml", "replay.yaml"),
        lambda folder: load_replay(folder / "replay.yaml"),
        _read_files("replays/*.yaml"),
        mutate_yaml,
    ),
    Target(
        "known-issues",
        "known_issues.toml",
        copy(CASES / "known_issues.toml", "known_issues.toml"),
        read_known,
    ),
    Target(
        "model-list",
        "models.toml",
        copy(CASES / "models.toml", "models.toml"),
        lambda folder: read_model_list(folder / "models.toml"),
    ),
    Target(
        "releases",
        "releases.toml",
        copy(RELEASES, "releases.toml"),
        lambda folder: read_releases(folder / "releases.toml"),
    ),
    Target("image", _MEDIUM, _prepare_medium(make_images), read_medium("image"), make_images),
    Target("video", _MEDIUM, _prepare_medium(make_videos), read_medium("video"), make_videos),
    Target("audio", _MEDIUM, _prepare_medium(make_audios), read_medium("audio"), make_audios),
    Target("checkpoint-config", _CONFIG, _prepare_checkpoint, read_checkpoint, mutate=mutate_json),
    Target(
        "weight-index",
        "model/model.safetensors.index.json",
        _prepare_checkpoint,
        read_checkpoint,
        mutate=mutate_json,
    ),
    Target(
        "weights", "model/model.safetensors", _prepare_checkpoint, read_checkpoint, mutate=mutate_safetensors
    ),
    Target("manifest", MANIFEST_FILE, _prepare_manifest, check_manifest, mutate=mutate_json),
)
