"""The names that third parties import."""

from __future__ import annotations

import subprocess
import sys

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
