"""Distribution of tests by pytest-xdist: all cases of an engine go to one worker, which loads it once."""

from __future__ import annotations

import re

from xdist.scheduler import LoadScopeScheduling

from vlm_parity.backends.registry import list_backend_targets
from vlm_parity.schema.engine_setup import EntryPoint


class EngineScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Scheduling with one unit of work per engine load; every other test is a unit of its own."""

    def _split_scope(self, nodeid: str) -> str:
        return get_engine_scope(nodeid) or nodeid


def get_engine_scope(nodeid: str) -> str | None:
    """Return the model, backend and mode of a test, by its id.

    ``...::test_prompt[qwen2_vl-vllm-two_images]`` has the scope ``qwen2_vl-vllm``. A mode, or an entry point
    that loads an engine of its own, is part of the scope; the other entry points share an engine.

    Returns:
        The scope; None if the id names no backend.
    """
    backends = "|".join(map(re.escape, list_backend_targets()))
    match = re.search(rf"\[(.+-(?:{backends}))(?:-([a-z0-9_]+))?-[a-z0-9_]+\]$", nodeid)
    if match is None:
        return None
    engine, setup = match.groups()
    shared = {entry_point for entry_point in EntryPoint if not entry_point.loads_own_engine}
    return engine if setup is None or setup in shared else f"{engine}-{setup}"
