"""Checkpoints from the Hugging Face hub or its local cache."""

from __future__ import annotations

from pathlib import Path

from vlm_parity.util.errors import UnknownModelError


def download_snapshot(hub_id: str, revision: str | None, ignore_patterns: list[str]) -> Path:
    """Return the folder of a snapshot in the hub's cache, downloaded if needed; its name is the commit.

    Args:
        hub_id: ``org/name``.
        revision: a branch, a tag or a commit; None for the default branch.
        ignore_patterns: patterns of files that are not downloaded.

    Raises:
        UnknownModelError: the snapshot is neither in the cache nor on the hub; the message states the reason
            and what to do.
    """
    source = f"{hub_id}@{revision}" if revision else hub_id
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise UnknownModelError(
            f"{source}: no such folder here, and huggingface_hub is not installed to fetch it: "
            "pip install huggingface_hub, or name a local folder"
        ) from error
    try:
        return Path(snapshot_download(hub_id, revision=revision, ignore_patterns=ignore_patterns or None))
    except Exception as error:  # of the hub, of httpx, or of the disk
        message = f"{source}: no such folder here; {_format_advice(error, hub_id, revision)}"
        raise UnknownModelError(f"{message}\n{type(error).__name__}: {error}") from error


def _format_advice(error: Exception, hub_id: str, revision: str | None) -> str:
    """Format the reason of a failed download and the remedy."""
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if HF_HUB_OFFLINE:
        return f"HF_HUB_OFFLINE forbids downloads, and {_find_cached(hub_id, revision)}"
    if isinstance(error, GatedRepoError):
        return "it is gated on the Hugging Face hub: accept its terms on its page, then `hf auth login`"
    if isinstance(error, RevisionNotFoundError):
        return f"the Hugging Face hub has the model, but no revision {revision!r}"
    if isinstance(error, RepositoryNotFoundError):
        return "the Hugging Face hub has no such model, or requires a login: `hf auth login`"
    cached = _find_cached(hub_id, revision)
    return (
        f"the Hugging Face hub could not be reached, and {cached}: check the network, or name a local folder"
    )


def _find_cached(hub_id: str, revision: str | None) -> str:
    """Describe the revisions of a model in the hub's cache."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE) / f"models--{hub_id.replace('/', '--')}"
    names = [
        *(str(ref.relative_to(folder / "refs")) for ref in (folder / "refs").rglob("*") if ref.is_file()),
        *(snapshot.name for snapshot in (folder / "snapshots").glob("*")),
    ]
    if not names:
        return "the hub's cache does not contain it"
    return f"the hub's cache contains not {revision or 'main'}, but {', '.join(sorted(names))}"
