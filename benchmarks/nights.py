"""Fourteen nights: real releases of transformers, vLLM and LMDeploy as they followed each other.

  python benchmarks/nights.py RUNS --store STORE

Each night is a run at depth `tokens` of three families in the releases of that night, in environments that
are built on demand and kept. It is compared with the last one in the store, reported, and added to it; the
trends of all nights follow. A night that is finished is not run again.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from target import USAGE, build_parser

from vlm_parity.releases.checkpoint import build_legacy_folder
from vlm_parity.releases.environment import build_child_environment, build_environment, get_python
from vlm_parity.releases.pins import build_pins
from vlm_parity.report.load_run import load_run
from vlm_parity.util.exit_codes import FAILED, PASSED, SESSION_FINISHED

ROOT = Path(__file__).parent.parent
FAMILIES = ("qwen2_vl", "qwen2_5_vl", "llava")
CASES = (
    *("text_only", "system_prompt", "one_image", "two_images"),
    *("several_turns", "text_around_image", "one_video", "video_and_image"),
)


@dataclass(frozen=True)
class Release:
    """A release of an engine, and the one of transformers if it is not that of ``releases.toml``."""

    engine: str
    version: str
    transformers: str = ""

    def find_python(self) -> Path:
        """Return the Python of its environment, which is built if it does not exist.

        The newest transformers needs other packages than `releases.toml` names for LMDeploy: tox's
        environment has them.
        """
        if self == LATEST_LMDEPLOY:
            return ROOT / ".tox" / "lmdeploy" / "bin" / "python"
        versions = {"transformers": self.transformers} if self.transformers else {}
        pins = build_pins(self.engine, self.version, versions)
        build_environment(pins, print_line)
        return get_python(pins)


LATEST_LMDEPLOY = Release("lmdeploy", "0.18.0", "5.24.0")
LMDEPLOY = (
    *("0.7.3", "0.8.0", "0.9.2", "0.10.0", "0.10.2", "0.11.0", "0.15.0", "0.16.0", "0.17.0"),
    *("0.18.0", "0.18.0", "0.18.0", "0.18.0"),
)
VLLM = (
    *(("0.9.2", ""), ("0.9.2", ""), ("0.10.0", ""), ("0.10.1.1", ""), ("0.10.2", ""), ("0.10.2", "")),
    *(("0.27.1", ""), ("0.28.0", ""), ("0.29.0", ""), ("0.30.0", ""), ("0.31.0", ""), ("0.32.0", "")),
    *(("0.32.0", "5.19.0"), ("0.32.0", "5.19.0")),  # it excludes 5.24.0
)
NIGHTS = tuple(
    zip(
        (*(Release("lmdeploy", version) for version in LMDEPLOY), LATEST_LMDEPLOY),
        (Release("vllm", *each) for each in VLLM),
        strict=True,
    )
)


def print_line(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def run_night(folder: Path, releases: tuple[Release, ...], models: list[Path]) -> None:
    """Run the releases of one night, except shards that are complete."""
    complete = {shard.name for shard in load_run(folder).shards if not shard.incomplete_reason}
    for release in releases:
        if release.engine in complete:
            continue
        print_line(f"{folder.name}: {release.engine} {release.version} {release.transformers}")
        command = [str(release.find_python()), "-m", "vlm_parity", "run", "cases", "--depth", "tokens"]
        command += ["--backend", release.engine, "--run", str(folder), "--shard", release.engine]
        command += [word for model in models for word in ("--model", str(model))]
        command += [word for case in CASES for word in ("--case", case)]
        command += ["--", "-q", "-p", "no:cacheprovider"]
        with (folder / f"{release.engine}.log").open("w", encoding="utf-8") as log:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=build_child_environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode not in SESSION_FINISHED:
            raise SystemExit(f"{shlex.join(command)} ended with {done.returncode}: {log.name}")


def run_parity(*words: str) -> str:
    """Run a command of the harness, whose result may be a failure; return its output."""
    command = [sys.executable, "-m", "vlm_parity", *words]
    done = subprocess.run(
        command, cwd=ROOT, env=build_child_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode not in {PASSED, FAILED}:
        raise SystemExit(f"{shlex.join(command)} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def run_nights(runs: Path, store: str) -> Iterator[str]:
    """Run all nights; yield the sentence of each comparison with the last night, and that of the trends."""
    models = [build_legacy_folder(family, print_line) for family in FAMILIES]
    for number, releases in enumerate(NIGHTS, 1):
        folder = runs / f"night-{number:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        run_night(folder, releases, models)
        if number > 1:
            output = run_parity("compare", str(folder), "--baseline", "last", "--store", store)
            yield f"{folder.name}: {output.partition(chr(10))[0]}"
            run_parity("report", str(folder), "--out", str(folder), "--baseline", "last", "--store", store)
        run_parity("store", "import", str(folder), "--store", store)
    yield run_parity("trends", "--store", store, "--out", str(runs / "trends")).splitlines()[-1]


def main() -> int:
    """Run the nights and print what each changed."""
    parser = build_parser(__doc__)
    parser.add_argument("runs", type=Path, metavar="RUNS", help="folder of the runs")
    parser.add_argument("--store", required=True, metavar="URL", help="store of the runs")
    args = parser.parse_args()
    if not (ROOT / ".tox" / "lmdeploy").is_dir():
        print_line("The last night needs tox's environment of LMDeploy: tox -e lmdeploy --notest")
        return USAGE
    for line in run_nights(args.runs, args.store):
        print_line(line)
    return PASSED


if __name__ == "__main__":
    raise SystemExit(main())
