"""Option for the model list."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vlm_parity.pytest_plugin.option_table import AddOption, get_option
from vlm_parity.schema.suite_layout import MODEL_LIST_FILE
from vlm_parity.util.errors import ModelListError
from vlm_parity.util.option_types import parse_path
from vlm_parity.util.text import escape_terminal

if TYPE_CHECKING:
    from vlm_parity.models.model_list import ListedModel


def add_model_list_option(add: AddOption) -> None:
    """Declare ``model-list``."""
    add(
        "model-list",
        type=parse_path,
        metavar="FILE",
        help=f"list of models whose names --model accepts (default: {MODEL_LIST_FILE} in the folder of the "
        "test modules, if it exists); without --model, all models of FILE are tested. An entry that is NOT "
        "PINNED to a commit may change at any time",
    )


def get_model_list(config: pytest.Config, folder: Path) -> Mapping[str, ListedModel]:
    """Return the model list that applies to the test modules of a folder, by name.

    Raises:
        pytest.UsageError: the list cannot be read.
    """
    configured: Path | None = get_option(config, "model-list")
    path = configured or folder / MODEL_LIST_FILE
    if configured is None and not path.exists():
        return {}
    from vlm_parity.models.model_list import read_model_list

    try:
        return read_model_list(path)
    except ModelListError as error:
        raise pytest.UsageError(escape_terminal(str(error))) from None
