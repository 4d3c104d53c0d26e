"""Blocks of a model: the items of its lists of layers, by which large models are recorded first."""

from __future__ import annotations


def find_block(module: str) -> str | None:
    """Return the name of the block that a module is inside of; None for a block itself and outside of blocks.

    ``model.layers.3.mlp.act_fn`` is inside of ``model.layers.3``.
    """
    words = module.split(".")
    first = next((index for index, word in enumerate(words) if word.isdigit()), len(words))
    return ".".join(words[: first + 1]) if first + 1 < len(words) else None
