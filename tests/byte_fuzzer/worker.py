"""The fuzzing of one target in this process, by Atheris: coverage of the harness's bytecode guides it.

The process has a limit on its memory. An input that ends it, by a crash in C or a loop that no signal
interrupts, is left as an artifact of libFuzzer.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from pathlib import Path

import atheris

from tests.byte_fuzzer.findings import write_finding
from tests.byte_fuzzer.oracle import Outcome, limit_memory, read_content
from tests.byte_fuzzer.target import Target

HANG_S = 30
"""Seconds until libFuzzer ends the process; the limit on processor time is shorter."""
COUNTS, CORPUS, ARTIFACTS = "counts.json", "corpus", "artifacts"
_MAX_LENGTH = 2**16
_STRUCTURED = 0.5
"""Share of the mutations of the structure, if a target has them."""
_WRITE_INTERVAL_S = 0.1


def fuzz(target: Target, folder: Path, findings: Path, seconds: float, seed: int) -> None:
    """Fuzz one target, then end the process.

    Args:
        target: the target.
        folder: for the corpus, the artifacts and the counts.
        findings: for the findings.
        seconds: time.
        seed: of the mutations.
    """
    workspace = folder / "workspace"
    counts: Counter[str] = Counter()
    written = 0.0

    def run(content: bytes) -> None:
        reading = read_content(target, workspace, content)
        counts[reading.outcome] += 1
        if reading.outcome is Outcome.FINDING:
            write_finding(findings, target, content, reading)
        nonlocal written
        if time.monotonic() - written > _WRITE_INTERVAL_S or reading.outcome is Outcome.FINDING:
            _write_counts(folder, counts)  # libFuzzer ends the process
            written = time.monotonic()

    def mutate(content: bytes, max_size: int, number: int) -> bytes:
        changed = None
        if target.mutate is not None and random.Random(number).random() < _STRUCTURED:  # noqa: S311
            changed = target.mutate(content, number)
        if changed is None or len(changed) > max_size:
            mutated: bytes = atheris.Mutate(content, max_size)
            return mutated
        return changed

    limit_memory()
    arguments = [
        "byte_fuzzer",
        f"-max_total_time={max(1, round(seconds))}",
        f"-seed={seed}",
        f"-max_len={_MAX_LENGTH}",
        f"-timeout={HANG_S}",
        "-rss_limit_mb=0",  # limited above, where exceeding it has a traceback
        "-len_control=0",
        f"-artifact_prefix={folder / ARTIFACTS}{os.sep}",
        str(folder / CORPUS),
    ]
    atheris.Setup(arguments, run, custom_mutator=mutate)
    atheris.Fuzz()


def _write_counts(folder: Path, counts: Counter[str]) -> None:
    draft = folder / f"{COUNTS}.draft"
    draft.write_text(json.dumps(counts))
    draft.replace(folder / COUNTS)
