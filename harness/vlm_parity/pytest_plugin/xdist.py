"""How pytest-xdist deals out the tests: an engine is loaded once, so its cases stay together."""

from __future__ import annotations

import re

from xdist.scheduler import LoadScopeScheduling

from vlm_parity.backends.registry import list_backend_targets
from vlm_parity.schema.engine_setup import EntryPoint


class EngineScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """One unit of work a loaded engine; every test of another kind is a unit of its own."""

    def _split_scope(self, nodeid: str) -> str:
        return get_engine_scope(nodeid) or nodeid


def get_engine_scope(nodeid: str) -> str | None:
    """``qwen2_vl-vllm`` from ``...::test_prompt[qwen2_vl-vllm-two_images]``, with the mode or server between
    the backend and the case; the other entry points share an engine.
    None where there is no backend.
    """
    backends = "|".join(map(re.escape, list_backend_targets()))
    found = re.search(rf"\[(.+-(?:{backends}))(?:-([a-z0-9_]+))?-[a-z0-9_]+\]$", nodeid)
    if found is None:
        return None
    engine, setup = found.groups()
    shared = {entry_point for entry_point in EntryPoint if not entry_point.loads_own_engine}
    return engine if setup is None or setup in shared else f"{engine}-{setup}"
