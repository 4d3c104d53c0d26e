"""Run folder and shard of a session, shared with its pytest-xdist workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vlm_parity.pytest_plugin.option_table import format_option, get_option
from vlm_parity.pytest_plugin.share_option import get_share_number
from vlm_parity.pytest_plugin.stash import RUN_FOLDER
from vlm_parity.pytest_plugin.store_option import check_store
from vlm_parity.util.cache_dir import ensure_writable_cache
from vlm_parity.util.clock import format_timestamp
from vlm_parity.util.writable_folder import ensure_writable_run


class RunFolder:
    """Names of the run folder and of the session's shard."""

    def __init__(self, config: pytest.Config) -> None:
        self.is_started = False  # the session of the plug-in sets it
        worker: dict[str, Any] | None = getattr(config, "workerinput", None)
        self.is_worker = worker is not None
        if worker is not None:
            self.path = Path(worker["parity_run"])
            self.shard = f"{worker['parity_shard']}-{worker['workerid']}"
            return
        now = format_timestamp()
        self.path = get_option(config, "run") or config.rootpath / "reports" / now
        backends = list(dict.fromkeys(get_option(config, "backend") or []))
        share = get_share_number(config)
        default = "-".join([now, *backends])
        self.shard = share.build_shard_name(backends) if share else get_option(config, "shard") or default

    @property
    def has_shards(self) -> bool:
        """True if this session, its fuzzer or one of its pytest-xdist workers has written a shard."""
        shards = self.path / "shards"
        names = [folder.name for folder in shards.iterdir()] if shards.is_dir() else []
        return self.is_started or any(name != self.shard and self.is_own(name) for name in names)

    def is_own(self, shard: str) -> bool:
        """Return whether a shard belongs to this session: its own, its fuzzer's or one of its workers'."""
        return shard == self.shard or shard.startswith((f"{self.shard}-gw", f"{self.shard}-fuzz"))

    def write_worker_input(self, workerinput: dict[str, Any]) -> None:
        """Pass the names on to a pytest-xdist worker."""
        workerinput["parity_run"] = str(self.path)
        workerinput["parity_shard"] = self.shard


def check_folders(config: pytest.Config) -> None:
    """Check that the session can write its run folder, its store and, if it captures anything, the cache.

    Raises:
        UsageError: it cannot.
    """
    folder = get_run_folder(config)
    ensure_writable_run(folder.path, format_option(config, "run"))
    if not folder.is_worker:
        check_store(config)
    if not get_option(config, "rejudge"):
        ensure_writable_cache()


def get_run_folder(config: pytest.Config) -> RunFolder:
    """Return the names of a session, which stay the same."""
    if RUN_FOLDER not in config.stash:
        config.stash[RUN_FOLDER] = RunFolder(config)
    folder: RunFolder = config.stash[RUN_FOLDER]
    return folder
