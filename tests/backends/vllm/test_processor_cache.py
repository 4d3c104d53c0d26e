"""vLLM's processor cache: media that it replaces by references are kept, without an engine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vlm_parity.backends.vllm.processor_cache import ProcessorCacheRecorder, find_processor_cache
from vlm_parity.util.errors import PrivateApiChangedError

ON: dict[str, Any] = {"mm_processor_cache_gb": 1}


class SenderCache:
    """The frontend's half of a cache: it knows which hashes the engine has, and the data of none."""

    def __init__(self, *, uses_addresses: bool = False) -> None:
        self.known: dict[str, str] = {}
        self._uses_addresses = uses_addresses

    def is_cached_item(self, mm_hash: str) -> bool:
        return mm_hash in self.known

    def get_and_update_item(self, item: Any, mm_hash: str) -> Any:
        reference = {"address": 7} if self._uses_addresses else None
        if mm_hash in self.known:
            return reference, self.known[mm_hash]
        data, updates = item
        self.known[mm_hash] = updates
        return reference if self._uses_addresses else data, updates


class StoringCache(SenderCache):
    """A cache that returns the stored item itself."""

    def __init__(self) -> None:
        super().__init__()
        self._items: dict[str, Any] = {}

    def get_and_update_item(self, item: Any, mm_hash: str) -> Any:
        self.known[mm_hash] = "updates"
        return self._items.setdefault(mm_hash, item)


def render(cache: SenderCache, *media: str) -> dict[str, Any]:
    """Render a prompt as vLLM does: what is not cached at the start is processed."""
    missing = [not cache.is_cached_item(name) for name in media]
    items = [
        cache.get_and_update_item(({"pixel_values": name}, "updates") if is_missing else None, name)[0]
        for name, is_missing in zip(media, missing, strict=True)
    ]
    return {"prompt": "p", "mm_kwargs": {"image": items}, "mm_hashes": {"image": list(media)}}


@pytest.mark.parametrize(
    "cache",
    [SenderCache(), SenderCache(uses_addresses=True), StoringCache()],
    ids=["data", "address", "item"],
)
def test_a_medium_of_an_earlier_request_is_restored(cache: SenderCache) -> None:
    recorder = ProcessorCacheRecorder(cache)
    for media in (("a", "b"), ("b", "c", "c"), ("a",)):
        with recorder.record():
            rendered = render(cache, *media)
        sent = [*rendered["mm_kwargs"]["image"]]
        restored = recorder.restore(rendered)
        assert restored["mm_kwargs"] == {"image": [{"pixel_values": name} for name in media]}
        assert restored["prompt"] == "p"
        assert rendered["mm_kwargs"]["image"] == sent  # the engine gets what vLLM sends
    assert "get_and_update_item" not in vars(cache)


def test_a_prompt_without_media_has_none_to_restore() -> None:
    recorder = ProcessorCacheRecorder(SenderCache())
    assert recorder.restore({"prompt": "p"}) == {"prompt": "p"}


def test_an_evicted_medium_is_forgotten_and_recorded_again() -> None:
    cache = SenderCache()
    recorder = ProcessorCacheRecorder(cache)
    with recorder.record():
        recorder.restore(render(cache, "a"))
    cache.known.clear()
    recorder.restore({"mm_kwargs": {}})
    unknown = {"mm_kwargs": {"image": [None]}, "mm_hashes": {"image": ["a"]}}
    with pytest.raises(PrivateApiChangedError, match=r"SenderCache\.get_and_update_item"):
        recorder.restore(unknown)
    with recorder.record():
        assert recorder.restore(render(cache, "a"))["mm_kwargs"] == {"image": [{"pixel_values": "a"}]}


def test_a_prompt_without_hashes_is_an_error() -> None:
    recorder = ProcessorCacheRecorder(SenderCache())
    with pytest.raises(PrivateApiChangedError, match="no mm_hashes of each image"):
        recorder.restore({"mm_kwargs": {"image": [None]}})


def test_a_cache_that_is_off_is_not_touched() -> None:
    assert find_processor_cache(object(), {"mm_processor_cache_gb": 0}) is None
    assert find_processor_cache(SimpleNamespace(mm_processor_cache=None), ON) is None
    assert find_processor_cache(SimpleNamespace(mm_processor_cache=SenderCache()), ON) is not None


def test_an_error_names_what_is_missing() -> None:
    with pytest.raises(PrivateApiChangedError, match=r"object\.mm_processor_cache is gone"):
        find_processor_cache(object(), ON)
    with pytest.raises(PrivateApiChangedError, match="object has no get_and_update_item, is_cached_item"):
        find_processor_cache(SimpleNamespace(mm_processor_cache=object()), ON)
