"""Scenarios, the choice between a sample of the faults and all of them, and the figures at the end."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.distributions import write_backend_distribution
from tests.support.faults.commands import Command, Launcher, accept_reference, build_run_words
from tests.support.faults.experiments import Scenario
from tests.support.faults.figures import PROPERTY, Experiments, format_table
from tests.support.faults.sandbox import AGAIN, OTHER_SHARD, RED, RUN, Sandbox

SUPPORT = Path(__file__).parents[1] / "support"
COMMANDS = {
    "cold": Command(build_run_words()),
    "warm": Command(build_run_words()),
    "red": Command(build_run_words(cases=RED)),
    "kept": Command(build_run_words("--keep-logits", cases=RED)),
    "again": Command(build_run_words("--rejudge", RUN, cases=RED, run=AGAIN)),
}
"""The command of each scenario.

- ``cold``: the cache is empty
- ``warm``: the cache is full, and the shard exists
- ``red``: as ``warm``, with a mismatch
- ``kept``: as ``red``, with traces that can be compared again
- ``again``: compares them again
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare ``--thorough``."""
    parser.addoption("--thorough", action="store_true", help="inject every fault instead of a sample")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the figures."""
    reports = (report for reports in terminalreporter.stats.values() for report in reports)
    ends = (report for report in reports if getattr(report, "when", "") == "teardown")
    figures = [value for report in ends for name, value in report.user_properties if name == PROPERTY]
    if figures:
        terminalreporter.section("faults")
        terminalreporter.write_line("\n".join(format_table(figures)))


@pytest.fixture(scope="session", autouse=True)
def _accept_reference() -> Iterator[None]:
    with accept_reference():
        yield


@pytest.fixture
def experiments(request: pytest.FixtureRequest) -> Iterator[Experiments]:
    """Return the experiments of a test."""
    experiments = Experiments(is_thorough=request.config.getoption("--thorough"))
    yield experiments
    request.node.user_properties.append((PROPERTY, experiments.figures))


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Launcher:
    site = tmp_path_factory.mktemp("site")
    write_backend_distribution(site, "tiny_engine", SUPPORT / "tiny_engine.py", "tiny_engine:TinyEngine")
    return Launcher(site, tmp_path_factory.mktemp("commands"))


@pytest.fixture(scope="session")
def scenarios(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Scenario]:
    """Return a function that builds a scenario by its name, once."""

    @cache
    def build_start(name: str) -> Sandbox:
        if name == "cold":
            sandbox = Sandbox.create(tmp_path_factory.mktemp("cold-start") / "sandbox")
            process = launcher.run(sandbox, Command(build_run_words(shard=OTHER_SHARD)))
            assert process.code == 0, process.output
            shutil.rmtree(sandbox.folder / "cache" / "reference")
            shutil.rmtree(sandbox.folder / "cache" / "locks")
            return sandbox
        if name == "again":
            return build_start("kept")
        sandbox = build_start("cold").copy(tmp_path_factory.mktemp(f"{name}-start") / "sandbox")
        launcher.run(sandbox, COMMANDS[name])
        return sandbox

    @cache
    def build(name: str) -> Scenario:
        run = AGAIN if name == "again" else RUN
        folder = tmp_path_factory.mktemp(name)
        return Scenario(name, build_start(name), COMMANDS[name], launcher, folder, run)

    return build
