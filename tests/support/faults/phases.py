"""The phases of a session, each by the file operation or the moment of the engine at which it begins."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tests.support.faults.sandbox import SHARD

_SHARD = rf"runs/\w+/shards/{SHARD}"
PHASES = {
    "shard created": rf"^open {_SHARD}/\.vlm-parity-shard",
    "shard started": rf"^rename .* {_SHARD}/shard\.json$",
    "reference starting": rf"^open {_SHARD}/logs/model-reference\.log",
    "reference loading": r"^engine load$",
    "reference captured": r"^rename .* cache/reference/\w+\.\*\.draft/trace\.json$",
    "noise measured": r"^engine samples",
    "reference stored": r"^rename cache/reference/\w+\.\*\.draft cache/reference/\w+$",
    "engine starting": rf"^open {_SHARD}/logs/model-tiny_engine\.log",
    "case captured": rf"^rename .* {_SHARD}/traces/model/tiny_engine/\w+/trace\.json$",
    "verdict written": rf"^rename .* {_SHARD}/verdicts/\S+\.json$",
    "arrays dropped": rf"^remove {_SHARD}/traces/\S+/tensors\.safetensors$",
    "cache trimmed": r"^open cache/locks/trim$",
    "report written": r"^rename .* runs/\w+/report\.json$",
    "run linked": r"^rename .* runs/latest$",
}
"""Regular expressions for the descriptions of ``file_faults``."""


def list_phases(operations: Iterable[str]) -> list[str]:
    """Return the phases that a session with these file operations has."""
    text = "\n".join(operations)
    return [phase for phase, pattern in PHASES.items() if re.search(pattern, text, re.MULTILINE)]
