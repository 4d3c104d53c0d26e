"""The names that third parties import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import vlm_parity


def test_every_public_name_is_there() -> None:
    for name in vlm_parity.__all__:
        if name != "TransformersBackend":  # its module needs torch
            assert getattr(vlm_parity, name) is not None


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = (
        "import sys, vlm_parity; print(*sorted({'numpy', 'pydantic', 'torch', 'pytest'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not done.stdout.split()


def test_the_shipped_tests_are_collected_without_hypothesis() -> None:
    program = (
        "import sys, runpy; sys.modules['hypothesis'] = None; "
        "[runpy.run_path(f'cases/test_{name}.py') for name in ('input', 'output', 'fuzz')]"
    )
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", program], cwd=root, check=True)
