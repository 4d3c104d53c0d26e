"""From what a user writes to a checkpoint on this machine."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from vlm_parity.models.build import build_checkpoint
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.hub import download_snapshot
from vlm_parity.models.model_list import ListedModel
from vlm_parity.models.registry import FAMILIES, load_family
from vlm_parity.models.required_files import WEIGHT_SUFFIXES, check_required_files, read_configuration
from vlm_parity.schema.record import compute_digest
from vlm_parity.util.errors import UnknownModelError

_HUB_ID = re.compile(r"(?P<id>\w[\w.-]*/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def resolve_model(
    spec: str, weights: bool = True, model_list: Mapping[str, ListedModel] | None = None
) -> Checkpoint:
    """The checkpoint that ``spec`` means; the first of these that fits.

    - the name of a family: its synthetic checkpoint, built on first use;
    - the name of an entry of the model list: from the hub, run as the entry says;
    - an existing folder, which must hold a checkpoint;
    - ``org/name`` or ``org/name@revision``: from the Hugging Face hub or its local cache.

    Args:
        spec: what the user wrote.
        weights: False fetches no weight files from the hub, and needs none in a folder: enough for the
            depth ``tokens``.
        listed: the model list, by name.

    Raises:
        UnknownModelError: nothing fits, the folder or the hub cannot give it, or a file is missing in it.
        CheckpointBuildError: the synthetic checkpoint could not be built.
    """
    entries = model_list or {}
    if spec in FAMILIES:
        return build_checkpoint(spec)
    if spec in entries:
        return _resolve_listed(entries[spec], weights)
    folder = Path(spec).expanduser()
    if spec and folder.is_dir():
        return _resolve_local(folder.resolve(), weights)
    if match := _HUB_ID.fullmatch(spec):
        return _resolve_hub(match["id"], match["revision"], weights)
    raise UnknownModelError(describe_unknown_model(spec, entries))


def is_model_spec(spec: str, model_list: Mapping[str, ListedModel]) -> bool:
    """Whether ``spec`` is of a kind that ``resolve`` takes; nothing is looked up but folders."""
    folder = Path(spec).expanduser()
    is_folder = bool(spec) and folder.is_dir()
    return spec in FAMILIES or spec in model_list or is_folder or _HUB_ID.fullmatch(spec) is not None


def describe_unknown_model(spec: str, model_list: Mapping[str, ListedModel]) -> str:
    """What to tell somebody whose ``spec`` names nothing."""
    return (
        f"{spec!r} is no family ({', '.join(FAMILIES)}), {_format_missing_entry(model_list)}no existing folder, "
        "and no hub id (org/name or org/name@revision)"
    )


def _format_missing_entry(model_list: Mapping[str, ListedModel]) -> str:
    return "no entry of the model list (`parity models` prints it), " if model_list else ""


def get_model_name(spec: str) -> str:
    """The name of a model in test ids and folders; nothing is looked up.

    A family as it is, a folder's last part, a hub id with ``/`` as ``--``.
    """
    if spec in FAMILIES:
        return spec
    folder = Path(spec).expanduser()
    if spec and folder.is_dir():
        return re.sub(r"[^\w.-]+", "-", folder.resolve().name)
    return spec.partition("@")[0].replace("/", "--")


def _resolve_local(folder: Path, weights: bool) -> Checkpoint:
    family = _detect_family(folder, str(folder))
    check_required_files(folder, str(folder), weights)
    name = get_model_name(str(folder))
    return Checkpoint(name, family, folder, source=folder.name, digest=_content_digest(folder))


def _detect_family(folder: Path, source: str) -> str:
    """The first family that takes the configuration, or its ``model_type`` itself."""
    config = read_configuration(folder, source)
    taking = (name for name in FAMILIES if load_family(name).matches_config(config))
    return next(taking, config["model_type"])


def _content_digest(folder: Path) -> str:
    """Small files by content. Weights, which take minutes to read, by size and time of change."""
    files = (file for file in folder.rglob("*") if file.is_file())
    visible = {str(name): folder / name for name in (file.relative_to(folder) for file in files)}
    return compute_digest(
        {name: _file_stamp(file) for name, file in visible.items() if not name.startswith(".")}
    )


def _file_stamp(file: Path) -> str:
    if file.suffix in WEIGHT_SUFFIXES:
        return f"{file.stat().st_size} {file.stat().st_mtime_ns}"
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _resolve_hub(hub_id: str, revision: str | None, weights: bool) -> Checkpoint:
    unwanted = [] if weights else [f"*{suffix}" for suffix in WEIGHT_SUFFIXES]
    folder = download_snapshot(hub_id, revision, unwanted)
    commit = folder.name  # the hub's cache names a snapshot after its commit
    source = f"{hub_id}@{commit}"
    family = _detect_family(folder, source)
    check_required_files(folder, source, weights)
    return Checkpoint(
        name=hub_id.replace("/", "--"),
        family=family,
        path=folder,
        source=source,
        digest=compute_digest([hub_id, commit]),
    )


def _resolve_listed(entry: ListedModel, weights: bool) -> Checkpoint:
    """The entry's family goes before the one that ``config.json`` tells of, if it is one of ours."""
    found = _resolve_hub(entry.hub_id, entry.revision, weights)
    family = entry.family if entry.family in FAMILIES else found.family
    trusted = entry.trust_remote_code
    return replace(
        found,
        name=entry.name,
        family=family,
        trust_remote_code=trusted,
        digest=compute_digest([found.digest, family, trusted]),
    )
