"""Locks of the tox environments: every package of an environment with its version, in ``locks/``.

    python tools/lock.py                  every lock, from environments built without one
    python tools/lock.py lint docs        some

A lock is a constraints file without local versions, so that torch==2.13.0 allows 2.13.0+cpu, too. Constraints
on packages that another platform does not install have no effect there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.utils import canonicalize_name

from vlm_parity.session.lock import NOT_PINNED

ROOT = Path(__file__).parents[1]
LOCKS = ROOT / "locks"
ENVIRONMENTS = (
    *("vllm", "lmdeploy", "tests", "browser", "cluster", "fuzz-bytes"),
    *("lint", "workflows", "docs", "report", "selfcheck"),
)
"""Environments with a lock of their own; others share one, see tox.ini."""


def build_environment(name: str, work_dir: Path) -> None:
    """Build a tox environment without its lock, and without commands_pre, which may uninstall packages.

    Raises:
        subprocess.CalledProcessError: an install fails.
    """
    options = ["--workdir", str(work_dir), "--notest", "--override", f"testenv:{name}.constraints="]
    subprocess.run([sys.executable, "-m", "tox", "run", "-e", name, *options], cwd=ROOT, check=True)


def list_pins(python: Path) -> dict[str, str]:
    """Return the packages of an environment by normalized name, with public versions."""
    command = [str(python), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
    listed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    versions = {canonicalize_name(entry["name"]): entry["version"].partition("+")[0] for entry in listed}
    return {name: version for name, version in sorted(versions.items()) if name not in NOT_PINNED}


def write_lock(path: Path, pins: dict[str, str], python: str) -> None:
    """Write a lock: a header, and one pin a line, sorted."""
    header = (
        f"# Every package of the tox environment {path.stem}, for Python {python} on {sys.platform}.\n"
        f"# Written by: python tools/lock.py {path.stem}\n"
    )
    path.write_text(
        header + "".join(f"{name}=={version}\n" for name, version in pins.items()), encoding="utf-8"
    )


def get_python_version(python: Path) -> str:
    """Return the version of an interpreter, such as ``3.11``."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run(
        [str(python), "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def main() -> None:
    """Write the locks that the command line names."""
    parser = argparse.ArgumentParser(description="Write the locks of the tox environments.")
    parser.add_argument("environments", nargs="*", metavar="ENVIRONMENT", help=", ".join(ENVIRONMENTS))
    arguments = parser.parse_args()
    names = arguments.environments or ENVIRONMENTS
    if unknown := set(names) - set(ENVIRONMENTS):
        parser.error(f"no lock is named {', '.join(sorted(unknown))}; there are: {', '.join(ENVIRONMENTS)}")
    LOCKS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            build_environment(name, Path(folder))
            python = Path(folder) / name / "bin" / "python"
            write_lock(LOCKS / f"{name}.txt", list_pins(python), get_python_version(python))
            print(LOCKS / f"{name}.txt")


if __name__ == "__main__":
    main()
