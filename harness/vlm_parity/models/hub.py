"""Checkpoints from the Hugging Face hub, or from what of it lies on this machine."""

from __future__ import annotations

from pathlib import Path

from vlm_parity.util.errors import UnknownModelError


def download_snapshot(hub_id: str, revision: str | None, leave_out: list[str]) -> Path:
    """The folder of a snapshot in the hub's cache; its name is the commit.

    Args:
        hub_id: ``org/name``.
        revision: a branch, a tag or a commit; None for the default branch.
        leave_out: patterns of files that are not wanted.

    Raises:
        UnknownModelError: it is neither in the cache nor to be had; the message says why and what to do.
    """
    wanted = f"{hub_id}@{revision}" if revision else hub_id
    try:
        from huggingface_hub import snapshot_download
    except ImportError as missing:
        raise UnknownModelError(
            f"{wanted}: no such folder here, and huggingface_hub is not installed to fetch it: "
            "pip install huggingface_hub, or name a local folder"
        ) from missing
    try:
        return Path(snapshot_download(hub_id, revision=revision, ignore_patterns=leave_out or None))
    except Exception as problem:  # the hub's own errors, those of httpx, and those of the disk
        said = f"{wanted}: no such folder here; {_format_advice(problem, hub_id, revision)}"
        raise UnknownModelError(f"{said}\n{type(problem).__name__}: {problem}") from problem


def _format_advice(problem: Exception, hub_id: str, revision: str | None) -> str:
    """What went wrong, in terms of what one can do about it."""
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    asked = "asked the Hugging Face hub, "
    if HF_HUB_OFFLINE:
        return f"HF_HUB_OFFLINE forbids to fetch it, and {_find_cached(hub_id, revision)}"
    if isinstance(problem, GatedRepoError):
        return f"{asked}where it is gated: accept its terms on its page, then `hf auth login`"
    if isinstance(problem, RevisionNotFoundError):
        return f"{asked}which has the model, but no revision {revision!r}"
    if isinstance(problem, RepositoryNotFoundError):
        return f"{asked}which has no such model, or only for those who are logged in: `hf auth login`"
    cached = _find_cached(hub_id, revision)
    return f"{asked}which could not be read, and {cached}: check the network, or name a local folder"


def _find_cached(hub_id: str, revision: str | None) -> str:
    """What of a model the hub's cache holds."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE) / f"models--{hub_id.replace('/', '--')}"
    names = [
        *(str(ref.relative_to(folder / "refs")) for ref in (folder / "refs").rglob("*") if ref.is_file()),
        *(snapshot.name for snapshot in (folder / "snapshots").glob("*")),
    ]
    if not names:
        return "the hub's cache does not hold it"
    return f"the hub's cache holds not {revision or 'main'}, but {', '.join(sorted(names))}"
