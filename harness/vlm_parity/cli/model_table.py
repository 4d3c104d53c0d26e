"""The model list on a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vlm_parity.models.model_list import ListedModel


def print_models(entries: Iterable[ListedModel], console: Console) -> None:
    """Prints a line an entry, and which of them are not pinned to a commit."""
    every = list(entries)
    table = Table(title=None)
    for name in ("name", "family", "checkpoint", "revision", "dtype"):
        table.add_column(name, overflow="fold")
    for name in ("GiB", "GPUs"):
        table.add_column(name, justify="right")
    table.add_column("its own code")
    for entry in every:
        table.add_row(
            entry.name,
            escape(entry.family),
            escape(entry.hub_id),
            entry.revision[:12] if entry.pinned else "[bold red]NOT PINNED[/]",
            entry.dtype,
            f"{entry.memory_gib:g}",
            str(entry.tensor_parallel_size),
            "run" if entry.trust_remote_code else "",
        )
    console.print(table)
    loose = [entry.name for entry in every if not entry.pinned]
    if loose:
        console.print(
            f"{len(loose)} of {len(every)} are NOT PINNED to a commit, so that they may be other checkpoints "
            "tomorrow: write the commit that their page on the hub shows into the list",
            style="bold red",
            highlight=False,
        )
