"""Everything that a session and its workers import, for the server that all of them are forked from."""

from __future__ import annotations

import gc
import os
import pkgutil
import sys
from importlib import import_module
from typing import Any

import safetensors.numpy

_save_file = safetensors.numpy.save_file
_PACKAGES = (
    *("capture", "cli", "diagnosis", "diff", "fuzz", "media", "models", "pytest_plugin", "report", "session"),
)


def _save_audited(tensors: Any, filename: Any, *others: Any, **options: Any) -> None:
    """Write arrays with the audit event that Rust does not raise."""
    sys.audit("open", os.fspath(filename), "wb", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    _save_file(tensors, filename, *others, **options)


def _import_submodules(package: str) -> None:
    path = import_module(package).__path__
    for module in pkgutil.walk_packages(path, f"{package}."):
        import_module(module.name)


safetensors.numpy.save_file = _save_audited  # type: ignore[assignment]  # before the harness imports it by name
_import_submodules("_pytest")
for _package in _PACKAGES:
    _import_submodules(f"vlm_parity.{_package}")

from vlm_parity.diagnosis.registry import load_rules
from vlm_parity.report.page_templates import load_templates

load_rules()
for _template in load_templates().list_templates(["j2"]):
    load_templates().get_template(_template)
import_module("tests.support.faults.commands")
gc.freeze()  # pytest collects garbage at the end of each session
