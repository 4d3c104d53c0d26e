"""The options ``--shard`` and ``--timings``: the name of a session's shard, or its share of the loads."""

from __future__ import annotations

from argparse import ArgumentTypeError

import pytest

from vlm_parity.pytest_plugin.option_table import AddOption, get_option
from vlm_parity.util.option_types import parse_path, parse_text
from vlm_parity.util.share_number import ShareNumber, parse_share


def add_share_options(add: AddOption) -> None:
    """Declare ``--shard`` and ``--timings``."""
    add(
        "shard",
        type=_parse_shard,
        metavar="NAME|N/M",
        help="name of this session's shard of the run; an existing shard is replaced (default: time and "
        "backends). N/M, such as 2/5: run the second of five shares of the engine loads, as the shard "
        "BACKEND-2-of-5; `parity report` checks that none is missing",
    )
    add(
        "timings",
        type=parse_path,
        metavar="RUN",
        help="with --shard N/M: divide the engine loads by their seconds in this run folder, or in the file "
        "that `parity report --timings` wrote (default: by the number of comparisons)",
    )


def _parse_shard(text: str) -> str | ShareNumber:
    try:
        return parse_share(text) or parse_text(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def get_share_number(config: pytest.Config) -> ShareNumber | None:
    """Return the share that ``--shard`` requests; None if it names the shard, or is not given."""
    shard = get_option(config, "shard")
    return shard if isinstance(shard, ShareNumber) else None
