"""From what a user writes to a checkpoint on this machine."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from harness.models import FAMILIES, load_family
from harness.models.build import build_checkpoint
from harness.models.checkpoint import Checkpoint
from harness.record import digest

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf")

_HUB_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


class UnknownModel(Exception):
    """No checkpoint could be found; the message says what was tried, and what to do."""


def resolve(spec: str, weights: bool = True) -> Checkpoint:
    """The checkpoint that ``spec`` means; the first of these that fits.

    - the name of a family: its synthetic checkpoint, built on first use;
    - an existing folder, which must hold ``config.json``;
    - ``org/name`` or ``org/name@revision``: from the Hugging Face hub or its local cache.

    Args:
        spec: what the user wrote.
        weights: False fetches no weight files from the hub: enough for the depth ``tokens``.

    Raises:
        UnknownModel: nothing fits, or the folder or the hub cannot give it.
        BuildFailed: the synthetic checkpoint could not be built.
    """
    if spec in FAMILIES:
        return build_checkpoint(spec)
    folder = Path(spec).expanduser()
    if spec and folder.is_dir():
        return _local(folder.resolve())
    if match := _HUB_ID.fullmatch(spec):
        return _hub(match["id"], match["revision"], weights)
    raise UnknownModel(
        f"{spec!r} is no family ({', '.join(FAMILIES)}), no existing folder, "
        "and no hub id (org/name or org/name@revision)"
    )


def model_name(spec: str) -> str:
    """The name of a model in test ids and folders; nothing is looked up.

    A family as it is, a folder's last part, a hub id with ``/`` as ``--``.
    """
    if spec in FAMILIES:
        return spec
    folder = Path(spec).expanduser()
    if spec and folder.is_dir():
        return re.sub(r"[^\w.-]+", "-", folder.resolve().name)
    return spec.partition("@")[0].replace("/", "--")


def _local(folder: Path) -> Checkpoint:
    name = model_name(str(folder))
    return Checkpoint(name, _family_of(folder), folder, source=folder.name, digest=_content_digest(folder))


def _family_of(folder: Path) -> str:
    """The family that takes this ``model_type``, or the ``model_type`` itself."""
    path = folder / "config.json"
    try:
        config: Any = json.loads(path.read_text(encoding="utf-8"))
        model_type = str(config["model_type"])
    except FileNotFoundError as missing:
        raise UnknownModel(f"{folder}: no checkpoint: it holds no config.json") from missing
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise UnknownModel(f"{path}: no JSON object with a model_type: {problem!r}") from problem
    return next((name for name in FAMILIES if model_type in load_family(name).model_types), model_type)


def _content_digest(folder: Path) -> str:
    """Small files by content. Weights, which take minutes to read, by size and time of change."""
    files = (file for file in folder.rglob("*") if file.is_file())
    visible = {str(name): folder / name for name in (file.relative_to(folder) for file in files)}
    return digest({name: _stamp(file) for name, file in visible.items() if not name.startswith(".")})


def _stamp(file: Path) -> str:
    if file.suffix in WEIGHT_SUFFIXES:
        return f"{file.stat().st_size} {file.stat().st_mtime_ns}"
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _hub(hub_id: str, revision: str | None, weights: bool) -> Checkpoint:
    folder = _download(hub_id, revision, weights)
    commit = folder.name  # the hub's cache names a snapshot after its commit
    return Checkpoint(
        name=hub_id.replace("/", "--"),
        family=_family_of(folder),
        path=folder,
        source=f"{hub_id}@{commit}",
        digest=digest([hub_id, commit]),
    )


def _download(hub_id: str, revision: str | None, weights: bool) -> Path:
    wanted = f"{hub_id}@{revision}" if revision else hub_id
    try:
        from huggingface_hub import snapshot_download
    except ImportError as missing:
        raise UnknownModel(
            f"{wanted}: no such folder here, and huggingface_hub is not installed to fetch it: "
            "pip install huggingface_hub, or name a local folder"
        ) from missing
    unwanted = None if weights else [f"*{suffix}" for suffix in WEIGHT_SUFFIXES]
    try:
        return Path(snapshot_download(hub_id, revision=revision, ignore_patterns=unwanted))
    except Exception as problem:  # the hub's own errors, those of httpx, and those of the disk
        raise UnknownModel(f"{wanted}: {_advice(problem)}\n{type(problem).__name__}: {problem}") from problem


def _advice(problem: Exception) -> str:
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    tried = "no such folder here; asked the Hugging Face hub, "
    if HF_HUB_OFFLINE:
        return "no such folder here, nor in the hub's cache, and HF_HUB_OFFLINE forbids to fetch it: unset it"
    if isinstance(problem, GatedRepoError):
        return tried + "where it is gated: accept its terms on its page, then `hf auth login`"
    if isinstance(problem, RevisionNotFoundError):
        return tried + "which has no such revision"
    if isinstance(problem, RepositoryNotFoundError):
        return tried + "which has no such model, or only for those who are logged in: `hf auth login`"
    return tried + "which could not be read: check the network, or name a local folder"
