"""Resolution of ``--model`` values to local checkpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from vlm_parity.models.build import build_checkpoint
from vlm_parity.models.cached_folder import ReportLine, print_line
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.content import compute_content
from vlm_parity.models.hub import download_snapshot
from vlm_parity.models.model_list import ListedModel
from vlm_parity.models.registry import FAMILIES, load_family
from vlm_parity.models.required_files import (
    WEIGHT_SUFFIXES,
    check_required_files,
    is_checkpoint,
    read_configuration,
)
from vlm_parity.models.shapes.templates import (
    FAMILIES_WITH_SHAPES,
    SEPARATOR,
    SHAPES,
    build_shape,
    get_shape_name,
    split_spec,
)
from vlm_parity.schema.record import compute_digest
from vlm_parity.util.errors import UnknownModelError
from vlm_parity.util.option_paths import find_folder
from vlm_parity.util.suggestions import suggest_names

_HUB_ID = re.compile(r"(?P<id>\w[\w.-]*/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def resolve_model(
    spec: str,
    weights: bool = True,
    model_list: Mapping[str, ListedModel] | None = None,
    report: ReportLine = print_line,
) -> Checkpoint:
    """Resolve ``spec`` as the first of these that matches.

    - the name of a family: its synthetic checkpoint, built on first use;
    - ``FAMILY:SHAPE``: the same with chat templates of another shape;
    - the name of an entry of the model list: from the hub, with the settings of the entry;
    - an existing folder, which must contain a checkpoint;
    - ``org/name`` or ``org/name@revision``: from the Hugging Face hub or its local cache.

    Args:
        spec: the value passed by the user.
        weights: False neither downloads nor requires weights: enough for the depth ``tokens``.
        model_list: the entries of the model list, by name.
        report: called with a line for the user about a damaged checkpoint in the cache.

    Raises:
        UnknownModelError: nothing matches, the hub does not provide it, or a file is missing in it.
        CheckpointBuildError: the synthetic checkpoint cannot be built.
    """
    entries = model_list or {}
    if spec in FAMILIES:
        return build_checkpoint(spec, report)
    if split_spec(spec)[1]:
        return build_shape(spec, report)
    if spec in entries:
        return _resolve_listed(entries[spec], weights)
    if (folder := find_folder(spec)) is not None:
        return _resolve_local(folder.resolve(), weights)
    if match := _HUB_ID.fullmatch(spec):
        return _resolve_hub(match["id"], match["revision"], weights)
    raise UnknownModelError(describe_unknown_model(spec, entries))


def is_model_spec(spec: str, model_list: Mapping[str, ListedModel]) -> bool:
    """Return True if ``resolve_model`` could accept ``spec``; only folders are looked up."""
    if spec in FAMILIES or spec in model_list or split_spec(spec)[1]:
        return True
    folder = find_folder(spec)
    return is_checkpoint(folder) if folder is not None else _HUB_ID.fullmatch(spec) is not None


def describe_unknown_model(spec: str, model_list: Mapping[str, ListedModel]) -> str:
    """Format the error about a ``spec`` that matches nothing."""
    if find_folder(spec) is not None:
        return f"{spec!r} is a folder without config.json, so it holds no checkpoint"
    shapes = [f"{family}{SEPARATOR}{shape}" for family in FAMILIES_WITH_SHAPES for shape in SHAPES]
    question = suggest_names(spec, [*FAMILIES, *shapes, *model_list])
    return (
        f"{spec!r} is no family ({', '.join(FAMILIES)}), {_format_missing_entry(model_list)}"
        f"no existing folder, and no hub id (org/name or org/name@revision){question and f'; {question}'}"
    )


def _format_missing_entry(model_list: Mapping[str, ListedModel]) -> str:
    return "no entry of the model list (`parity models` prints it), " if model_list else ""


def get_model_name(spec: str) -> str:
    """Return the name of a model in test ids and folders, without resolving it.

    It is the name of a family or entry, the last part of a folder, or a hub id with ``--`` for ``/``.
    """
    if spec in FAMILIES:
        return spec
    if split_spec(spec)[1]:
        return get_shape_name(spec)
    folder = find_folder(spec)
    if folder is not None:
        return re.sub(r"[^\w.-]+", "-", folder.resolve().name)
    return spec.partition("@")[0].replace("/", "--")


def _resolve_local(folder: Path, weights: bool) -> Checkpoint:
    family = _detect_family(folder, str(folder))
    check_required_files(folder, str(folder), weights)
    name = get_model_name(str(folder))
    content = compute_content(folder)
    return Checkpoint(name, family, folder, source=folder.name, digest=content, content=content)


def _detect_family(folder: Path, source: str) -> str:
    """Return the first family that matches the configuration, or its ``model_type`` if none does."""
    config = read_configuration(folder, source)
    matching = (name for name in FAMILIES if load_family(name).matches_config(config))
    return next(matching, config["model_type"])


def _resolve_hub(hub_id: str, revision: str | None, weights: bool) -> Checkpoint:
    ignored = [] if weights else [f"*{suffix}" for suffix in WEIGHT_SUFFIXES]
    folder = download_snapshot(hub_id, revision, ignored)
    commit = folder.name  # the hub's cache names a snapshot after its commit
    source = f"{hub_id}@{commit}"
    family = _detect_family(folder, source)
    check_required_files(folder, source, weights)
    content = compute_content(folder)
    return Checkpoint(
        name=hub_id.replace("/", "--"),
        family=family,
        path=folder,
        source=source,
        digest=compute_digest([hub_id, commit, content]),
        content=content,
    )


def _resolve_listed(entry: ListedModel, weights: bool) -> Checkpoint:
    """Resolve an entry; its family, if registered, overrides the one that ``config.json`` suggests."""
    checkpoint = _resolve_hub(entry.hub_id, entry.revision, weights)
    family = entry.family if entry.family in FAMILIES else checkpoint.family
    return replace(
        checkpoint,
        name=entry.name,
        family=family,
        trust_remote_code=entry.trust_remote_code,
        digest=compute_digest([checkpoint.digest, family, entry.trust_remote_code]),
    )
