"""The model list: checkpoints on the hub with the settings to run them.

A TOML file next to the cases, with one table ``[[model]]`` per entry::

    [[model]]
    name = "qwen2-vl-2b"
    hub_id = "Qwen/Qwen2-VL-2B-Instruct"
    revision = "main"
    family = "qwen2_vl"
    memory_gib = 10
    dtype = "bfloat16"

``--model qwen2-vl-2b`` then selects this checkpoint with these settings.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from vlm_parity.models.registry import ALL_FAMILIES, FAMILIES
from vlm_parity.schema.toml_records import NamedRecord, read_toml_records
from vlm_parity.util.errors import ModelListError

UNPINNED = "main"
"""The only revision that is not a commit: the content of a branch may change between two runs."""

_COMMIT = re.compile(r"[0-9a-f]{40}")


def _check_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
        raise ValueError("may contain only a-z, 0-9, dots, dashes and underscores")
    if name in {*FAMILIES, ALL_FAMILIES}:
        raise ValueError("is the name of a synthetic model")
    return name


def _check_revision(text: str) -> str:
    if text != UNPINNED and not _COMMIT.fullmatch(text):
        raise ValueError(
            f"is neither a commit of 40 hexadecimal digits nor {UNPINNED!r} for an unpinned entry"
        )
    return text


class ListedModel(NamedRecord):
    """One checkpoint on the hub, and the settings to run it."""

    name: Annotated[str, AfterValidator(_check_name)]
    """Name in ``--model`` and test ids."""
    hub_id: str = Field(pattern=r"^\w[\w.-]*/[\w.-]+$")
    revision: Annotated[str, AfterValidator(_check_revision)]
    """A commit of 40 hexadecimal digits, or ``main`` until it is pinned."""
    family: str
    """A name of ``vlm_parity.models.registry.FAMILIES``.

    It overrides the family that ``config.json`` suggests: families may share a ``model_type``.
    """
    memory_gib: float = Field(gt=0)
    """GPU memory that the reference needs, on all GPUs together; see the comment in ``cases/models.toml``."""
    dtype: Literal["float32", "bfloat16", "float16"]
    """Default of ``--dtype``."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """Number of GPUs that share the weights of the engine."""
    trust_remote_code: bool = False
    """True to run the code in the checkpoint."""
    note: str = ""

    @property
    def pinned(self) -> bool:
        """True if the revision is a commit: the same checkpoint in every run."""
        return self.revision != UNPINNED


def read_model_list(path: Path) -> dict[str, ListedModel]:
    """Read the entries of a list, by name and in its order.

    Raises:
        ModelListError: the file is missing or is not TOML, an entry does not fit, or two have one name.
    """
    entries = read_toml_records(path, "model", ListedModel, ModelListError)
    return {entry.name: entry for entry in entries}
