"""Execution of the ``run:`` steps of a GitHub workflow: jobs, artifacts, and stand-ins for what is not here.

A step runs in bash as on GitHub. Expressions have the values of a table; an expression without one is an
error. Actions are not run: a checkout provides the folder of cases, and artifacts are folders.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"
_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
_BASH = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c")


def read_workflow(name: str) -> dict[str, Any]:
    """Read a workflow by the name of its file."""
    workflow: dict[str, Any] = yaml.safe_load((WORKFLOWS / name).read_text(encoding="utf-8"))
    return workflow


def list_run_steps(workflow: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return the jobs and names of all steps that run a script."""
    jobs = workflow["jobs"].items()
    return {(job, step["name"]) for job, content in jobs for step in content["steps"] if "run" in step}


def list_matrix(job: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the combinations of a job's matrix; one that is empty if the job has no matrix."""
    matrix = dict(job.get("strategy", {}).get("matrix", {}))
    included = matrix.pop("include", [])
    for values in product(*matrix.values()):
        combination = dict(zip(matrix, values, strict=True))
        for extra in included:
            if all(extra[key] == combination[key] for key in extra.keys() & combination.keys()):
                combination |= extra
        yield combination


@dataclass(frozen=True)
class JobResult:
    """The end of a job."""

    output: str
    failed_step: str
    """Empty if no step failed."""
    summary: str
    """The step summary, in Markdown."""


@dataclass
class WorkflowRun:
    """One run of a workflow."""

    name: str
    """The name of its file."""
    folder: Path
    """Folder of the jobs and the artifacts."""
    checkout: Path
    """Folder that stands for the repository."""
    commands: Path
    """Folder of the commands that stand in for those of a runner; it comes first in the path."""
    values: Mapping[str, str]
    """Values of expressions, besides those of the matrix."""
    replacements: Mapping[str, str]
    """Parts of scripts that need a GPU or an engine, and what replaces them here."""
    executed: set[tuple[str, str]] = field(default_factory=set)
    """Jobs and names of the steps that ran."""

    @property
    def artifacts(self) -> Path:
        """The folder of the artifacts, one folder each."""
        return self.folder / "artifacts"

    def run_matrix(self, name: str) -> list[JobResult]:
        """Run every combination of a job's matrix."""
        job = read_workflow(self.name)["jobs"][name]
        return [self.run_job(name, combination) for combination in list_matrix(job)]

    def run_job(self, name: str, matrix: Mapping[str, Any] | None = None) -> JobResult:
        """Run the steps of one job."""
        workflow = read_workflow(self.name)
        job = workflow["jobs"][name]
        values = {**self.values, **{f"matrix.{key}": str(value) for key, value in (matrix or {}).items()}}
        place = self.folder / "-".join([name, *map(str, (matrix or {}).values())]).replace("/", "-").replace(
            ":", "-"
        )
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        summary = place.with_suffix(".summary.md")
        environment = {
            **os.environ,
            **{key: _evaluate(str(value), values) for key, value in workflow.get("env", {}).items()},
            **{key: _evaluate(str(value), values) for key, value in job.get("env", {}).items()},
            "PATH": os.pathsep.join([str(self.commands), os.environ["PATH"]]),
            "GITHUB_STEP_SUMMARY": str(summary),
        }
        failed, output = "", ""
        for step in job["steps"]:
            if failed and "if" not in step:  # those with a condition run after a failure, too
                continue
            if "uses" in step:
                self._use(step, values, place)
                continue
            self.executed.add((name, step["name"]))
            script = _evaluate(step["run"], values)
            for text, replacement in self.replacements.items():
                script = script.replace(text, replacement)
            result = subprocess.run(
                [*_BASH, script],
                check=False,
                cwd=place,
                env=environment,
                capture_output=True,
                text=True,
                timeout=600,
            )
            output += f"$ {script}\n{result.stdout}{result.stderr}"
            failed = failed or (step["name"] if result.returncode else "")
        return JobResult(output, failed, summary.read_text() if summary.exists() else "")

    def _use(self, step: Mapping[str, Any], values: Mapping[str, str], place: Path) -> None:
        action = step["uses"].partition("@")[0]
        options = {key: _evaluate(str(value), values) for key, value in step.get("with", {}).items()}
        if action == "actions/checkout":
            shutil.copytree(self.checkout, place, dirs_exist_ok=True)
        elif action == "actions/upload-artifact":
            for path in place.glob(options["path"]):
                target = self.artifacts / options["name"]
                if path.is_dir():
                    shutil.copytree(path, target, dirs_exist_ok=True)
                else:
                    target.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, target)
        elif action == "actions/download-artifact" and "name" in options:
            shutil.copytree(self.artifacts / options["name"], place, dirs_exist_ok=True)
        elif action == "actions/download-artifact":
            for found in self.artifacts.glob(options["pattern"]):
                shutil.copytree(found, place / options["path"] / found.name)
        elif action == "actions/upload-pages-artifact":
            assert (place / options["path"] / "index.html").is_file()


def write_command(folder: Path, name: str, script: str) -> None:
    """Write a command for bash."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/usr/bin/env bash\nset -eu\n{script}\n")
    path.chmod(0o755)


def write_parity_command(folder: Path) -> None:
    """Write ``parity`` as it is in this environment."""
    write_command(folder, "parity", f'exec "{sys.executable}" -P -m vlm_parity "$@"')


def _evaluate(text: str, values: Mapping[str, str]) -> str:
    """Replace the expressions of a text.

    Raises:
        KeyError: an expression has no value.
    """
    return _EXPRESSION.sub(lambda match: values[match[1]], text)
