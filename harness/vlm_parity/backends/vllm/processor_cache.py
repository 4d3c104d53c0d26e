"""Model arguments of media that vLLM's processor cache replaces by references.

If the cache is on (``mm_processor_cache_gb``), the frontend sends each medium to the engine once. In later
requests it has no data, or the address of shared memory, and the engine takes the medium from its own half
of the cache, by its hash.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from vlm_parity.util.errors import PrivateApiChangedError

_CACHE = "mm_processor_cache"
_SIZE_ARGUMENT = "mm_processor_cache_gb"
_METHODS = ("get_and_update_item", "is_cached_item")
_ADDRESS = "address"
"""The argument of an item that is in shared memory."""


class ProcessorCacheRecorder:
    """Keeps what vLLM's processor computed for each medium in its cache, as the engine does."""

    def __init__(self, cache: Any) -> None:
        """Store the cache.

        Args:
            cache: of vLLM's frontend.

        Raises:
            PrivateApiChangedError: vLLM has moved a name.
        """
        self._cache = cache
        missing = [name for name in _METHODS if not hasattr(self._cache, name)]
        if missing:
            raise PrivateApiChangedError(f"vLLM's {type(self._cache).__name__} has no {', '.join(missing)}")
        self._items: dict[str, Any] = {}

    @contextmanager
    def record(self) -> Iterator[None]:
        """Keep the items that the processor passes to its cache while the block runs."""
        update = self._cache.get_and_update_item

        def update_and_record(item: Any, mm_hash: str) -> Any:
            if item is not None:
                self._items[mm_hash] = item[0]
            return update(item, mm_hash)

        self._cache.get_and_update_item = update_and_record
        try:
            yield
        finally:
            del self._cache.get_and_update_item

    def restore(self, rendered: Mapping[str, Any]) -> dict[str, Any]:
        """Return a prompt rendered by vLLM with the model arguments of all of its media.

        Args:
            rendered: the prompt; unchanged, because the engine expects the references.

        Raises:
            PrivateApiChangedError: the prompt has no hashes, or a medium was not recorded.
        """
        items_by_modality = rendered.get("mm_kwargs") or {}
        hashes = rendered.get("mm_hashes") or {}
        restored = {}
        for modality, items in items_by_modality.items():
            if len(hashes.get(modality, ())) != len(items):
                raise PrivateApiChangedError(f"vLLM's prompt has no mm_hashes of each {modality}")
            pairs = zip(items, hashes[modality], strict=True)
            restored[modality] = [self._restore_item(item, mm_hash) for item, mm_hash in pairs]
        self._forget_evicted()
        return {**rendered, "mm_kwargs": restored} if restored else dict(rendered)

    def _restore_item(self, item: Any, mm_hash: str) -> Any:
        if item is not None and _ADDRESS not in item:
            return item
        if mm_hash not in self._items:
            raise PrivateApiChangedError(
                "vLLM took a medium from its processor cache that did not pass through "
                f"{type(self._cache).__name__}.{_METHODS[0]}"
            )
        return self._items[mm_hash]

    def _forget_evicted(self) -> None:
        self._items = {key: item for key, item in self._items.items() if self._cache.is_cached_item(key)}


def find_processor_cache(renderer: Any, arguments: Mapping[str, Any]) -> ProcessorCacheRecorder | None:
    """Return a recorder of vLLM's processor cache; None if the cache is off.

    Args:
        renderer: of vLLM.
        arguments: of the engine.

    Raises:
        PrivateApiChangedError: vLLM has moved a name.
    """
    if not arguments[_SIZE_ARGUMENT]:
        return None
    if not hasattr(renderer, _CACHE):
        raise PrivateApiChangedError(f"vLLM's {type(renderer).__name__}.{_CACHE} is gone")
    cache = getattr(renderer, _CACHE)
    return None if cache is None else ProcessorCacheRecorder(cache)  # a model without media has none
