"""Checkpoints whose chat templates have the shape of other released layouts: ``qwen2_5_vl:two_templates``.

An engine takes the template of the processor or of the tokenizer, and decides by its text whether contents
are strings or parts. The weights are those of the family.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlm_parity.models.build import build_checkpoint
from vlm_parity.models.cached_folder import ReportLine, provide_folder
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.content import format_manifest_content
from vlm_parity.schema.manifest import MANIFEST_FILE
from vlm_parity.schema.record import compute_digest

SEPARATOR = ":"
FAMILIES_WITH_SHAPES = ("qwen2_vl", "qwen2_5_vl")
"""Families whose released template the shapes rewrite."""
_TOKENIZER, _PROCESSOR = "tokenizer_config.json", "chat_template.json"
_TEMPLATE = "chat_template"
_FOLDER = Path(__file__).parent


SHAPES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    # The tokenizer has the template of the text model, with tools, as in released Qwen2.5-VL.
    "two_templates": ("text_model", (_TOKENIZER,)),
    # The template reaches contents through a macro and a variable.
    "macro": ("macro", (_TOKENIZER, _PROCESSOR)),
}
"""By shape: its template, and the files whose template it replaces."""


def split_spec(spec: str) -> tuple[str, str]:
    """Return the family and the shape of a ``--model`` value; the shape is empty if it names none."""
    family, separator, shape = spec.partition(SEPARATOR)
    if separator and family in FAMILIES_WITH_SHAPES and shape in SHAPES:
        return family, shape
    return spec, ""


def get_shape_name(spec: str) -> str:
    """Return the name of a model with a shape in test ids and folders: ``qwen2_5_vl-two_templates``."""
    return spec.replace(SEPARATOR, "-")


def build_shape(spec: str, report: ReportLine) -> Checkpoint:
    """Return the synthetic checkpoint of a family with other chat templates.

    Raises:
        CheckpointBuildError: as ``build_checkpoint``.
    """
    family, shape = split_spec(spec)
    base = build_checkpoint(family, report)
    name_of_template, files = SHAPES[shape]
    template = (_FOLDER / f"{name_of_template}.jinja").read_text("utf-8")
    key = compute_digest([base.digest, shape, template])
    name = get_shape_name(spec)

    def build(draft: Path) -> None:
        for file in base.path.iterdir():
            if file.name != MANIFEST_FILE:
                _link(file, draft / file.name)
        for each in files:
            _replace_template(draft / each, template)

    path, manifest = provide_folder("models", Path(f"{name}-{key[:16]}"), build, report)
    digest = compute_digest([key, manifest.digest])
    content = format_manifest_content(manifest)
    return replace(base, name=name, path=path, digest=digest, content=content)


def _link(file: Path, target: Path) -> None:
    """Link a file of a checkpoint, or copy it where the file system has no links."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)


def _replace_template(path: Path, template: str) -> None:
    data: dict[str, Any] = json.loads(path.read_text("utf-8"))
    path.unlink()  # a link to the file of the family
    path.write_text(json.dumps({**data, _TEMPLATE: template}, indent=2), encoding="utf-8")
