"""Failed tests of the plug-in, for the records of the shards.

A session fails with its tests, but its shards hold verdicts and findings, and the report may be all that is
left of it. A test that fails although its verdict passes must show there, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from vlm_parity.pytest_plugin.run_folder import RunFolder
from vlm_parity.pytest_plugin.selection import format_command
from vlm_parity.pytest_plugin.stash import CRASHED_TESTS, FAILED_TESTS
from vlm_parity.session.shard_writer import ShardWriter


def note_failed_test(item: pytest.Item, report: pytest.TestReport) -> None:
    """Note a test of the plug-in if its setup, call or teardown failed."""
    if report.failed:
        item.config.stash.setdefault(FAILED_TESTS, {})[item.nodeid] = item


def list_failed_tests(config: pytest.Config, fixture: str) -> Iterator[tuple[str, Any]]:
    """Yield the id of each failed test with a fixture of the plug-in, and the fixture's parameter."""
    for nodeid, item in config.stash.get(FAILED_TESTS, {}).items():
        if fixture in item.fixturenames:
            yield nodeid, item.callspec.params[fixture]


def note_crashed_test(config: pytest.Config, nodeid: str) -> None:
    """Note a test at which a pytest-xdist worker ended: no worker reports it."""
    config.stash.setdefault(CRASHED_TESTS, []).append(nodeid)


def write_crash_shard(config: pytest.Config, folder: RunFolder) -> None:
    """Write a shard that states the tests at which workers ended; it is incomplete, so the run fails."""
    shard = ShardWriter(folder.path / "shards" / folder.shard, format_command(config), {})
    shard.start(())
    shard.set_failed_tests(config.stash[CRASHED_TESTS])
    shard.finish()
    folder.is_started = True
