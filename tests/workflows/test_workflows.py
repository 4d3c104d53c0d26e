"""All workflows: least permissions, official actions, and no expression inside a script."""

from __future__ import annotations

import re

import pytest

from tests.support.workflows import WORKFLOWS, read_workflow

ACTIONS = {
    "actions/cache",
    "actions/cache/restore",
    "actions/cache/save",
    "actions/checkout",
    "actions/deploy-pages",
    "actions/download-artifact",
    "actions/setup-python",
    "actions/upload-artifact",
    "actions/upload-pages-artifact",
}
NAMES = sorted(path.name for path in WORKFLOWS.glob("*.yml"))


def test_there_are_three() -> None:
    assert NAMES == ["nightly.yml", "pull_request.yml", "release_gate.yml"]


@pytest.mark.parametrize("name", NAMES)
def test_actions_are_official_and_pinned_by_major_version(name: str) -> None:
    steps = [step for job in read_workflow(name)["jobs"].values() for step in job["steps"]]
    for action, _, version in (step["uses"].partition("@") for step in steps if "uses" in step):
        assert action in ACTIONS
        assert re.fullmatch(r"v\d+", version)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_may_be_written_by_default(name: str) -> None:
    workflow = read_workflow(name)
    assert workflow["permissions"] == {"contents": "read"}
    writing = {
        job for job, content in workflow["jobs"].items() if "write" in content.get("permissions", {}).values()
    }
    assert writing == ({"publish", "issue"} if name == "nightly.yml" else set())


@pytest.mark.parametrize("name", NAMES)
def test_no_expression_is_pasted_into_a_script(name: str) -> None:
    """A branch name or an input would be executed; values come in through the environment."""
    for job in read_workflow(name)["jobs"].values():
        assert not any("${{" in step.get("run", "") for step in job["steps"])
