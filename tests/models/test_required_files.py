"""Files that a checkpoint must contain: code in it is named whatever else it holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.checkpoints import write_checkpoint
from vlm_parity.models.required_files import describe_remote_code


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00"])
def test_code_is_named_beside_an_unreadable_file(tmp_path: Path, content: str) -> None:
    folder = write_checkpoint(tmp_path / "model", model_type="new", auto_map={"AutoModel": "modeling.Model"})
    (folder / "preprocessor_config.json").write_text(content)
    message = (
        "new contains code (auto_map in config.json), which runs only if its entry in the model list has "
    )
    assert describe_remote_code(folder, "new").startswith(message)
