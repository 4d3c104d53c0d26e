"""The layers that docs/explanations/design.md shows are those of the import-linter contract."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
DESIGN = ROOT / "docs" / "explanations" / "design.md"


def documented_layers() -> list[str]:
    """Return the lines of the fenced block whose first line is the top layer, ``cli``."""
    blocks = re.findall(
        r"^```\w*\n(cli\n.*?)^```$", DESIGN.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert len(blocks) == 1, f"{DESIGN} needs one fenced block of layers that begins with 'cli'"
    return str(blocks[0]).splitlines()


def contract_layers() -> list[str]:
    """Return the layers of the contract with the id ``layers``, top first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = {contract["id"]: contract for contract in settings["tool"]["importlinter"]["contracts"]}
    layers: list[str] = contracts["layers"]["layers"]
    return layers


def test_documented_layers_are_those_of_the_contract() -> None:
    assert documented_layers() == contract_layers()


def test_every_package_is_in_a_layer() -> None:
    layered = {name.strip() for layer in contract_layers() for name in layer.split("|")}
    package = ROOT / "harness" / "vlm_parity"
    assert {path.parent.name for path in package.glob("*/__init__.py")} == layered
