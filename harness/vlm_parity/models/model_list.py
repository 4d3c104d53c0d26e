"""A list of models: checkpoints of the hub with what it takes to run them.

A TOML file beside the cases, with one table ``[[model]]`` an entry::

    [[model]]
    name = "qwen2-vl-2b"
    hub_id = "Qwen/Qwen2-VL-2B-Instruct"
    revision = "main"
    family = "qwen2_vl"
    memory_gib = 10
    dtype = "bfloat16"

``--model qwen2-vl-2b`` then means this checkpoint, run as the entry says.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from vlm_parity.models.registry import ALL_FAMILIES, FAMILIES
from vlm_parity.schema.toml_records import NamedRecord, read_toml_records
from vlm_parity.util.errors import ModelListError

LIST_FILE = "models.toml"
UNPINNED_WARNING = "main"
"""The only revision that is no commit: what a branch holds changes from night to night."""

_COMMIT = re.compile(r"[0-9a-f]{40}")


def _check_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
        raise ValueError("has to be of a-z, 0-9, dots, dashes and underscores")
    if name in {*FAMILIES, ALL_FAMILIES}:
        raise ValueError("is the name of a synthetic model")
    return name


def _check_revision(text: str) -> str:
    if text != UNPINNED_WARNING and not _COMMIT.fullmatch(text):
        raise ValueError(
            f"is no commit of 40 hexadecimal digits, nor {UNPINNED_WARNING!r} for an entry unpinned yet"
        )
    return text


class ListedModel(NamedRecord):
    """One checkpoint of the hub, and what it takes to run it."""

    name: Annotated[str, AfterValidator(_check_name)]
    """As ``--model`` and test ids have it."""
    hub_id: str = Field(pattern=r"^\w[\w.-]*/[\w.-]+$")
    revision: Annotated[str, AfterValidator(_check_revision)]
    """A commit of 40 hexadecimal digits, or ``main`` as long as nobody has pinned it."""
    family: str
    """Of ``vlm_parity.models.registry.FAMILIES``; goes before what ``config.json`` says, where families share a
    ``model_type``."""
    memory_gib: float = Field(gt=0)
    """What the reference needs of the GPUs, all together: see docs/models.md."""
    dtype: Literal["float32", "bfloat16", "float16"]
    """What the engines compute in if ``--dtype`` says nothing else."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """How many GPUs share the engine's weights."""
    trust_remote_code: bool = False
    """Whether the code that the checkpoint brings is run."""
    note: str = ""

    @property
    def pinned(self) -> bool:
        """Whether it is the same checkpoint every night."""
        return self.revision != UNPINNED_WARNING


def read_model_list(path: Path) -> dict[str, ListedModel]:
    """Read the entries of a list, by name and in its order.

    Raises:
        ModelListError: the file is missing or is not TOML, an entry does not fit, or two have one name.
    """
    entries = read_toml_records(path, "model", ListedModel, ModelListError)
    return {entry.name: entry for entry in entries}
