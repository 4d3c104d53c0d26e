"""Which list of models a session goes by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from vlm_parity.models.model_list import LIST_FILE, ListedModel, read_model_list
from vlm_parity.pytest_plugin.option_table import AddOption, get_option
from vlm_parity.util.errors import ModelListError


def add_model_list_option(add: AddOption) -> None:
    """Declare ``model-list``."""
    add(
        "model-list",
        type=Path,
        metavar="FILE",
        help=f"list of models whose names --model takes (default: {LIST_FILE} beside the test modules, if it "
        "is there); without --model: every model of it. An entry that is NOT PINNED to a commit may be "
        "another checkpoint tomorrow: the session says so",
    )


def get_model_list(config: pytest.Config, beside: Path) -> Mapping[str, ListedModel]:
    """The model list, by name.

    Raises:
        pytest.UsageError: it cannot be read.
    """
    named: Path | None = get_option(config, "model-list")
    path = named or beside / LIST_FILE
    if named is None and not path.exists():
        return {}
    try:
        return read_model_list(path)
    except ModelListError as problem:
        raise pytest.UsageError(str(problem)) from None
