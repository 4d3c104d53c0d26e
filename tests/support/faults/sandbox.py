"""The folder of one experiment: cases, a model, the files of the harness, and files that are none of its."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save

SHARD, OTHER_SHARD = "p", "other"
RUN, AGAIN = "runs/run", "runs/again"
"""The run folder of most sessions, and another one."""
_HARNESS = (RUN, AGAIN, "runs/latest", "cache", "temporary")
"""Paths that sessions may change."""
_FOREIGN = (
    "notes.txt",
    "home/notes.txt",
    "home/.cache/notes.txt",
    "runs/notes.txt",
    f"runs/earlier/shards/{SHARD}/notes.txt",
    f"{RUN}/notes.txt",
    f"{RUN}/mine/notes.txt",
    "cache/notes.txt",
    "cache/mine/notes.txt",
)
"""Files that no session has written; some are in the folders of the harness."""
_MODULE = """\
import pytest

pytestmark = pytest.mark.parity_logits

def test_verdict(parity_comparison):
    parity_comparison.check("prefill")
"""
_KNOWN_ISSUE = """\
[[issue]]
name = "first-logit"
backend = "tiny_engine"
case = "known"
stage = "prefill"
upstream = "not reported yet"
expires = 2999-01-01
note = "The first logit is wrong."
"""
_CONTENT = {
    "text": "Hi",
    "image": "[{text: Look}, {image: {pattern: plain, size: [8, 8]}}]",
    "known": "Known",
    "wrong": "Wrong",
}
GREEN, RED = ("text", "image", "known"), ("text", "image", "known", "wrong")
"""The cases of a session that passes, and those of one that does not."""


class Sandbox:
    """A folder with everything that a session reads and writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, folder: Path) -> Sandbox:
        """Create a sandbox in which nothing has run yet."""
        files = {name: f"{name} was here before\n" for name in _FOREIGN}
        files["pytest.ini"] = "[pytest]\n"
        files["cases/test_case.py"] = _MODULE
        files["cases/known_issues.toml"] = _KNOWN_ISSUE
        for name, content in _CONTENT.items():
            message = f"messages: [{{role: user, content: {content}}}]"
            files[f"cases/conversations/{name}.yaml"] = f"summary: s\nmax_new_tokens: 3\n{message}\n"
        files["model/config.json"] = '{"model_type": "tiny"}'
        files["model/tokenizer.json"] = files["model/preprocessor_config.json"] = "{}"
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (folder / "model" / "model.safetensors").write_bytes(save({"weight": np.ones(4, np.float32)}))
        (folder / "temporary").mkdir()
        return cls(folder)

    def copy(self, folder: Path) -> Sandbox:
        """Copy the sandbox, times included, to a new folder."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Sandbox(folder)

    def describe_foreign_files(self) -> dict[str, str]:
        """Return a description of everything that sessions must not change, by path."""
        others = f"{RUN}/shards/{OTHER_SHARD}"
        described = {}
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder)
            is_foreign = str(name) in _FOREIGN or name.is_relative_to(others)
            if is_foreign or not any(name.is_relative_to(own) for own in _HARNESS):
                described[str(name)] = _describe(path)
        return described


def _describe(path: Path) -> str:
    if path.is_symlink():
        return f"link to {os.readlink(path)}"  # noqa: PTH115
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
